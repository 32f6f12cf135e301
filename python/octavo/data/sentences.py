# SPDX-License-Identifier: Apache-2.0
"""Sentences on which the demonstration compares int8 with float32: short and long, many topics."""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "Yes.",
    "The kettle is boiling.",
    "Where did you park the car?",
    "She tuned the old violin by ear.",
    "Rain is expected along the coast tonight.",
    "My flight was cancelled, so I took the train.",
    "The recipe asks for two eggs and a pinch of salt.",
    "Prices rose faster in spring than anyone had forecast.",
    "A small leak under the sink ruined the kitchen floor.",
    "Compilers turn text that people read into steps that machines take.",
    "He apologised twice, and she forgave him neither time.",
    "The museum opens at ten, except on Mondays, when it stays shut.",
    "Our goalkeeper saved a penalty in the last minute of the match!",
    "Water expands when it freezes, which is why pipes burst in winter.",
    "Please reset my password; I no longer have access to that address.",
    "The doctor advised her to rest for a week and to avoid heavy lifting.",
    "Nobody in the village remembered who had planted the chestnut trees.",
    "I would not recommend this phone: the battery barely lasts until noon.",
    "What a delightful little film, full of warmth and quiet, clever jokes.",
    "The court found that the contract had never been signed by both parties.",
    "Migrating storks follow rising columns of warm air and hardly flap their wings.",
    "def mean(values): return sum(values) / len(values)  # fails for an empty list",
    (
        "In 1969 two people walked on the Moon while a third circled above them, alone, "
        "listening to the radio and waiting for the small craft to come back."
    ),
    (
        "After the third delay the passengers had stopped asking questions and built a kind of "
        "camp between gates 14 and 15: coats became blankets, suitcases became tables, and a "
        "retired teacher from Porto organised a chess tournament that was still going on when "
        "the aircraft finally arrived, eleven hours late, shortly before dawn."
    ),
)
