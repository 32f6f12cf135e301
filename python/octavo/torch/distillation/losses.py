# SPDX-License-Identifier: Apache-2.0
"""The losses of knowledge distillation, each a mean, so that their weights compare.

Every function takes what the student gave first, then what the teacher gave, and returns a scalar
tensor. `mask` is 1 where a token counts, as the `attention_mask` of transformers; padding never
adds to a loss.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORED_LABEL = -100
"""Tokens with this label do not count, as everywhere in PyTorch."""


def soft_target_loss(
    student: Tensor, teacher: Tensor, temperature: float = 2.0, mask: Tensor | None = None
) -> Tensor:
    """Divergence of the student's softened probabilities from the teacher's.

    ``temperature**2 * KL(softmax(teacher / temperature) || softmax(student / temperature))``, the
    mean over rows; the square keeps gradients at one size for all temperatures. With a single
    logit, a regression, it is the mean squared difference.

    Parameters
    ----------
    student, teacher : Tensor, shape (rows, classes) or (rows, tokens, classes)
    temperature : float
        Above 1 it shows more of how the teacher ranks the wrong classes.
    mask : Tensor, shape (rows, tokens), optional
        For logits per token.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, arXiv 1503.02531.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import soft_target_loss
    >>> teacher = torch.tensor([[2.0, 0.0]])
    >>> soft_target_loss(teacher, teacher).item()
    0.0
    >>> round(soft_target_loss(torch.zeros(1, 2), teacher, temperature=1.0).item(), 4)
    0.3278
    """
    _same_shape(student, teacher, "logits")
    student, teacher = _counted(student, mask), _counted(teacher, mask)
    if student.shape[-1] == 1:
        return functional.mse_loss(student, teacher)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy with the true labels; with a single logit, the mean squared difference.

    Parameters
    ----------
    logits : Tensor, shape (rows, classes) or (rows, tokens, classes)
    labels : Tensor, shape (rows,) or (rows, tokens)
        Integers; -100 does not count.

    Raises
    ------
    TypeError
        If labels of classes are no integers.
    ValueError
        If shapes do not fit or a label is no class.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import label_loss
    >>> round(label_loss(torch.zeros(3, 4), torch.tensor([0, 3, 1])).item(), 4)
    1.3863
    """
    classes = logits.shape[-1]
    if classes == 1:
        if labels.numel() != logits.numel():
            raise ValueError(
                f"labels: expected one for each of the {logits.numel()} outputs, got shape "
                f"{tuple(labels.shape)}"
            )
        return functional.mse_loss(logits.reshape(-1), labels.reshape(-1).to(logits.dtype))
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels: expected integers, got {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels: expected shape {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}"
        )
    counted = labels[labels != IGNORED_LABEL]
    wrong = counted[(counted < 0) | (counted >= classes)]
    if wrong.numel():
        raise ValueError(f"labels: expected classes in [0, {classes - 1}], got {int(wrong[0])}")
    if not counted.numel():
        return logits.sum() * 0.0
    return functional.cross_entropy(
        logits.reshape(-1, classes), labels.reshape(-1).long(), ignore_index=IGNORED_LABEL
    )


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of hidden states.

    Parameters
    ----------
    student, teacher : Tensor, shape (rows, tokens, width) or (rows, width)
        Of one width: a narrower student's states go through a projection first.
    mask : Tensor, shape (rows, tokens), optional

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Jiao et al.: TinyBERT, arXiv 1909.10351.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import hidden_loss
    >>> ones, mask = torch.ones(1, 2, 4), torch.tensor([[1, 0]])
    >>> hidden_loss(ones, torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 2, 4), mask).item()
    2.0
    """
    _same_shape(student, teacher, "hidden states")
    return functional.mse_loss(_counted(student, mask), _counted(teacher, mask))


def cosine_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """One minus the cosine of vectors that belong together, on average: hidden states or sentences.

    Parameters
    ----------
    student, teacher : Tensor, shape (rows, tokens, width) or (rows, width)
    mask : Tensor, shape (rows, tokens), optional

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Sanh et al.: DistilBERT, arXiv 1910.01108.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import cosine_loss
    >>> cosine_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
    1.0
    """
    _same_shape(student, teacher, "vectors")
    cosines = functional.cosine_similarity(_counted(student, mask), _counted(teacher, mask), dim=-1)
    return 1.0 - cosines.mean()


def attention_loss(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, scores: bool = True
) -> Tensor:
    """Mean squared difference of attention maps, over pairs of tokens that both count.

    Parameters
    ----------
    student, teacher : Tensor, shape (rows, heads, tokens, tokens)
        Probabilities, as transformers gives them.
    mask : Tensor, shape (rows, tokens), optional
    scores : bool
        Compare the scores in front of the softmax, as TinyBERT does, instead of probabilities.
        They are the logarithms of the probabilities up to a constant in each row, which changes
        no probability: rows are compared with their mean taken away. Probabilities of 0, which
        dropout leaves in the maps of a student that trains, do not count.

    Raises
    ------
    ValueError
        If the shapes differ, in the number of heads for instance.

    Notes
    -----
    Jiao et al.: TinyBERT, arXiv 1909.10351.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import attention_loss
    >>> maps = torch.softmax(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), dim=-1)
    >>> even = torch.full((1, 1, 2, 2), 0.5)
    >>> round(attention_loss(even, maps).item(), 4)
    0.125
    """
    _same_shape(student, teacher, "attention maps (rows, heads, tokens, tokens)")
    if mask is None:
        mask = torch.ones(student.shape[0], student.shape[-1], device=student.device)
    counted = (mask[:, None, None, :] * mask[:, None, :, None]).to(student.dtype)
    counted = counted.expand(student.shape)
    if scores:
        counted = counted * (student > 0) * (teacher > 0)
        student, teacher = _row_scores(student, counted), _row_scores(teacher, counted)
    squares = (student - teacher).square() * counted
    return squares.sum() / counted.sum().clamp(min=1)


def _row_scores(maps: Tensor, counted: Tensor) -> Tensor:
    logarithms = maps.clamp(min=torch.finfo(maps.dtype).tiny).log() * counted
    mean = logarithms.sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp(min=1)
    return logarithms - mean


def pool(hidden: Tensor, mask: Tensor | None = None, how: str = "mean") -> Tensor:
    """Return one vector a row: the mean of the tokens that count, or the first token's.

    Parameters
    ----------
    hidden : Tensor, shape (rows, tokens, width) or (rows, width)
        The latter are returned as they are.
    mask : Tensor, shape (rows, tokens), optional
    how : "mean" or "first"

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.distillation import pool
    >>> hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
    >>> pool(hidden, torch.tensor([[1, 1, 0]]))
    tensor([[2., 3.]])
    """
    if hidden.ndim == 2:
        return hidden
    if how == "first":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _counted(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the rows that count, as (count, width)."""
    flat = values.reshape(-1, values.shape[-1])
    if mask is None or mask.numel() != flat.shape[0]:
        return flat
    return flat[mask.reshape(-1).bool()]


def _same_shape(student: Tensor, teacher: Tensor, what: str) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"{what}: expected one shape for teacher and student, got {tuple(teacher.shape)} and "
            f"{tuple(student.shape)}"
        )
