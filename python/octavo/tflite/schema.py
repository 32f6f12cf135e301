# SPDX-License-Identifier: Apache-2.0
"""The schema of TensorFlow Lite's files as tables, by which they are read and written.

A table of a file has fields by number. Here it is a line: its fields in the order of their numbers,
each with its type, and its default where that is not 0. ``[...]`` is a vector, ``-`` a number
without a meaning here.
"""

from __future__ import annotations

from typing import NamedTuple

IDENTIFIER = b"TFL3"
"""What stands in a file behind the place of its root."""

FILE_VERSION = 3
"""The version of the schema in all files since 2018."""

SCALARS = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
}
"""Types of numbers, and what `struct` calls them."""

ENUMS: dict[str, tuple[str, ...]] = {
    "Activation": ("none", "relu", "relu_n1_to_1", "relu6", "tanh", "sign_bit"),
    "DimensionType": ("dense", "sparse_csr"),
    "MirrorMode": ("reflect", "symmetric"),
    "Padding": ("same", "valid"),
    "TensorType": (
        *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16"),
        *("complex64", "int8", "float64", "complex128", "uint64", "resource", "variant"),
        *("uint32", "uint16", "int4", "bfloat16", "int2", "uint4", "float8_e4m3fn", "float8_e5m2"),
    ),
    "WeightsFormat": ("default", "shuffled4x16int8"),
}
"""Types with a name for each number, which is an int8 in the file: its place in the tuple."""


class Field(NamedTuple):
    """A field of a table.

    Attributes
    ----------
    number : int
        Its place in the table.
    type : str
        One of `SCALARS`, `ENUMS` or `TABLES`, "string", or "union": a table that the field before
        this one tells.
    is_vector : bool
        Whether it is a vector of those.
    default : str
        The number that it is where a file leaves it out, if it is a number.
    """

    number: int
    type: str
    is_vector: bool = False
    default: int = 0

    @property
    def absent(self) -> int | float | bool | str | None:
        """What it is where a file leaves it out."""
        if self.is_vector or self.type not in SCALARS | ENUMS:
            return None
        if self.type in ENUMS:
            return ENUMS[self.type][self.default]
        kinds = {"bool": bool, "float32": float}
        return kinds.get(self.type, int)(self.default)


_STRUCTURE = """
Model version:uint32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string
 buffers:[Buffer] - metadata:[Metadata] signature_defs:[SignatureDef]
OperatorCode deprecated_builtin_code:int8 custom_code:string version:int32=1 builtin_code:int32
SubGraph tensors:[Tensor] inputs:[int32] outputs:[int32] operators:[Operator] name:string
Buffer data:[uint8] offset:uint64 size:uint64
Metadata name:string buffer:uint32
SignatureDef inputs:[TensorMap] outputs:[TensorMap] signature_key:string - subgraph_index:uint32
TensorMap name:string tensor_index:uint32
Tensor shape:[int32] type:TensorType buffer:uint32 name:string
 quantization:QuantizationParameters is_variable:bool sparsity:SparsityParameters
 shape_signature:[int32] has_rank:bool - external_buffer:uint32
QuantizationParameters min:[float32] max:[float32] scale:[float32] zero_point:[int64]
 details_type:uint8 details:union quantized_dimension:int32
SparsityParameters traversal_order:[int32] block_map:[int32] dim_metadata:[DimensionMetadata]
DimensionMetadata format:DimensionType dense_size:int32 array_segments_type:uint8
 array_segments:union array_indices_type:uint8 array_indices:union
Int32Vector values:[int32]
Uint16Vector values:[uint16]
Uint8Vector values:[uint8]
Operator opcode_index:uint32 inputs:[int32] outputs:[int32] builtin_options_type:uint8
 builtin_options:union custom_options:[uint8]
"""

INDEX_VECTORS = ("", "Int32Vector", "Uint16Vector", "Uint8Vector")
"""What may hold the indices of a sparse dimension, by number."""

# Options of builtin operators: their number in the union, the kinds that have them, their fields.
_OPTIONS = """
1 conv_2d padding:Padding stride_w:int32 stride_h:int32 fused_activation_function:Activation
 dilation_w_factor:int32=1 dilation_h_factor:int32=1 quantized_bias_type:TensorType
2 depthwise_conv_2d padding:Padding stride_w:int32 stride_h:int32 depth_multiplier:int32
 fused_activation_function:Activation dilation_w_factor:int32=1 dilation_h_factor:int32=1
5 average_pool_2d,max_pool_2d,l2_pool_2d padding:Padding stride_w:int32 stride_h:int32
 filter_width:int32 filter_height:int32 fused_activation_function:Activation
8 fully_connected fused_activation_function:Activation weights_format:WeightsFormat
 keep_num_dims:bool asymmetric_quantize_inputs:bool quantized_bias_type:TensorType
9 softmax beta:float32
10 concatenation axis:int32 fused_activation_function:Activation
11 add fused_activation_function:Activation pot_scale_int16:bool=1
12 l2_normalization fused_activation_function:Activation
13 local_response_normalization radius:int32 bias:float32 alpha:float32 beta:float32
15 resize_bilinear new_height:int32 new_width:int32 align_corners:bool half_pixel_centers:bool
17 reshape new_shape:[int32]
19 space_to_depth block_size:int32
21 mul fused_activation_function:Activation
22 pad
23 gather axis:int32 batch_dims:int32
24 batch_to_space_nd
25 space_to_batch_nd
26 transpose
27 mean,sum,reduce_prod,reduce_max,reduce_min,reduce_any,reduce_all keep_dims:bool
28 sub fused_activation_function:Activation pot_scale_int16:bool=1
29 div fused_activation_function:Activation
30 squeeze squeeze_dims:[int32]
32 strided_slice begin_mask:int32 end_mask:int32 ellipsis_mask:int32 new_axis_mask:int32
 shrink_axis_mask:int32 offset:bool
33 exp
34 topk_v2
35 split num_splits:int32
36 log_softmax
37 cast in_data_type:TensorType out_data_type:TensorType
38 dequantize
39 maximum,minimum
40 arg_max output_type:TensorType
41 less
42 neg
43 padv2
44 greater
45 greater_equal
46 less_equal
47 select
48 slice
49 transpose_conv padding:Padding stride_w:int32 stride_h:int32
 fused_activation_function:Activation quantized_bias_type:TensorType
51 tile
52 expand_dims
53 equal
54 not_equal
55 shape out_type:TensorType
56 pow
57 arg_min output_type:TensorType
58 fake_quant min:float32 max:float32 num_bits:int32 narrow_range:bool
59 pack values_count:int32 axis:int32
60 logical_or
61 one_hot axis:int32
62 logical_and
63 logical_not
64 unpack num:int32 axis:int32
65 floor_div
66 square
67 zeros_like
68 fill
72 floor_mod
73 range
74 resize_nearest_neighbor align_corners:bool half_pixel_centers:bool
75 leaky_relu alpha:float32
76 squared_difference
77 mirror_pad mode:MirrorMode
78 abs
79 split_v num_splits:int32
81 reverse_v2
82 add_n
83 gather_nd
84 cos
85 where
86 rank
89 quantize
91 hard_swish
94 depth_to_space block_size:int32
97 scatter_nd
98 select_v2
99 densify
101 batch_matmul adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
102 cumsum exclusive:bool reverse:bool
104 broadcast_to
116 gelu approximate:bool
123 sign
"""

# Builtin operators by number; behind a colon the highest version that LiteRT 2.3 has of one that
# has several: a higher one may mean something else.
_OPERATORS = """
add:6 average_pool_2d:3 concatenation:7 conv_2d:8 depthwise_conv_2d:7 depth_to_space:2
dequantize:9 embedding_lookup:5 floor fully_connected:14 hashtable_lookup l2_normalization:2
l2_pool_2d local_response_normalization logistic:3 lsh_projection lstm:4 max_pool_2d:3 mul:8
relu:3 relu_n1_to_1 relu6:3 reshape resize_bilinear:4 rnn:3 softmax:4 space_to_depth:2
svdf:4 tanh:3 concat_embeddings skip_gram call custom embedding_lookup_sparse pad:6
unidirectional_sequence_rnn:3 gather:8 batch_to_space_nd:4 space_to_batch_nd:4 transpose:9
mean:3 sub:5 div:2 squeeze:2 unidirectional_sequence_lstm:4 strided_slice:8
bidirectional_sequence_rnn:3 exp:2 topk_v2:3 split:5 log_softmax:2 delegate
bidirectional_sequence_lstm:3 cast:9 prelu maximum:4 arg_max:3 minimum:4 less:3 neg padv2:6
greater:2 greater_equal:3 less_equal:2 select:4 slice:8 sin:2 transpose_conv:5
sparse_to_dense:3 tile:3 expand_dims equal:5 not_equal:4 log:2 sum:2 sqrt:2 rsqrt:3 shape
pow arg_min:3 fake_quant:2 reduce_prod:2 reduce_max:3 pack:5 logical_or one_hot logical_and
logical_not unpack:6 reduce_min:3 floor_div:3 reduce_any square zeros_like fill:5
floor_mod:2 range:2 resize_nearest_neighbor:4 leaky_relu:2 squared_difference:2 mirror_pad:3
abs:5 split_v:3 unique ceil reverse_v2:4 add_n gather_nd:6 cos:2 where:2 rank elu
reverse_sequence matrix_diag quantize:6 matrix_set_diag round hard_swish if while
non_max_suppression_v4 non_max_suppression_v5 scatter_nd select_v2:2 densify segment_sum
batch_matmul:4 placeholder_for_greater_op_codes cumsum call_once broadcast_to:4 rfft2d
conv_3d imag real complex_abs hashtable hashtable_find hashtable_import hashtable_size
reduce_all conv_3d_transpose var_handle read_variable assign_variable broadcast_args
random_standard_normal bucketize random_uniform multinomial gelu:3 dynamic_update_slice:6
relu_0_to_1 unsorted_segment_prod unsorted_segment_max unsorted_segment_sum atan2
unsorted_segment_min sign:2 bitcast bitwise_xor right_shift stablehlo_logistic stablehlo_add
stablehlo_divide stablehlo_multiply stablehlo_maximum stablehlo_reshape stablehlo_clamp
stablehlo_concatenate stablehlo_broadcast_in_dim stablehlo_convolution stablehlo_slice
stablehlo_custom_call stablehlo_reduce stablehlo_abs stablehlo_and stablehlo_cosine
stablehlo_exponential stablehlo_floor stablehlo_log stablehlo_minimum stablehlo_negate
stablehlo_or stablehlo_power stablehlo_remainder stablehlo_rsqrt stablehlo_select
stablehlo_subtract stablehlo_tanh stablehlo_scatter stablehlo_compare stablehlo_convert
stablehlo_dynamic_slice stablehlo_dynamic_update_slice stablehlo_pad stablehlo_iota
stablehlo_dot_general stablehlo_reduce_window stablehlo_sort stablehlo_while
stablehlo_gather stablehlo_transpose dilate stablehlo_rng_bit_generator reduce_window
stablehlo_composite stablehlo_shift_left stablehlo_cbrt stablehlo_case
"""

CONTROL_FLOW = frozenset(("call", "call_once", "if", "while", "stablehlo_case", "stablehlo_while"))
"""Operators that run other subgraphs."""


def _fields(words: list[str]) -> dict[str, Field]:
    fields = {}
    for number, word in enumerate(words):
        if word != "-":
            name, _, rest = word.partition(":")
            kind, _, default = rest.partition("=")
            fields[name] = Field(number, kind.strip("[]"), kind[0] == "[", int(default or 0))
    return fields


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().replace("\n ", " ").split("\n")]


TABLES: dict[str, dict[str, Field]] = {name: _fields(words) for name, *words in _lines(_STRUCTURE)}
"""Fields of each table by their names; options are named by the operator that has them."""

OPTIONS: dict[str, tuple[int, dict[str, Field]]] = {
    kind: (int(number), fields)
    for number, kinds, *words in _lines(_OPTIONS)
    for fields in (_fields(words),)
    for kind in kinds.split(",")
}
"""Of a kind of operator: the number of its options in the union of all, and their fields."""

_VERSIONED = [word.partition(":") for word in _OPERATORS.split()]

OPERATORS: tuple[str, ...] = tuple(kind for kind, _, _ in _VERSIONED)
"""Kinds of builtin operators; the place of one is its number."""

VERSIONS: dict[str, int] = {kind: int(version or 1) for kind, _, version in _VERSIONED}
"""The highest version of each kind that is understood."""
