"""A checkpoint as a GGUF model: which tensors, under which names, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import gguf
from gguf import GGMLQuantizationType as Type

from lumos_edge.conversion import architecture as architectures
from lumos_edge.conversion.architecture import Architecture
from lumos_edge.conversion.checkpoint import Checkpoint
from lumos_edge.conversion.encoding import DIRECT_TYPES, encode, tensor_type
from lumos_edge.conversion.gguf_file import OutputTensor, write_gguf
from lumos_edge.conversion.hyperparameters import Hyperparameters
from lumos_edge.conversion.module_metadata import ModuleMetadata
from lumos_edge.conversion.tensors import Array, StoredTensor
from lumos_edge.conversion.vocabulary import Vocabulary, read_vocabulary
from lumos_edge.errors import ConversionError, UnsupportedArchitecture, VocabularyMismatch

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
# Where multimodal checkpoints keep their text model, and what lies beside it.
_TEXT_PREFIXES = ("language_model.", "model.language_model.")
_OTHER_MODALITIES = (
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
)


@dataclass(frozen=True)
class ModelPlan:
    """All that is needed to write a model, with no tensor read yet."""

    checkpoint: Checkpoint
    architecture: Architecture
    hyperparameters: Hyperparameters
    vocabulary: Vocabulary
    type_name: str
    tensors: tuple[OutputTensor, ...]
    notes: tuple[str, ...]


def plan_model(checkpoint: Checkpoint, type_name: str) -> ModelPlan:
    """How `checkpoint` is written as `type_name` (a key of DIRECT_TYPES); reads tables and the tokenizer
    only.

    Raises UnsupportedArchitecture, VocabularyMismatch or ConversionError when it cannot be.
    """
    architecture, model = architectures.read_architecture(checkpoint)
    sources = map_tensors(checkpoint, architecture, model)
    _check_shapes(checkpoint, sources, architecture, model)
    vocabulary = read_vocabulary(checkpoint.folder, model.n_vocab)
    wanted, _ = DIRECT_TYPES[type_name]
    extra = _frequency_tensor(model)
    tensors = (*extra, *(_output_tensor(name, t, architecture, model, wanted) for name, t in sources.items()))
    notes = (*vocabulary.notes, *_context_note(architecture, model))
    return ModelPlan(checkpoint, architecture, model, vocabulary, type_name, tensors, notes)


def write_model(plan: ModelPlan, path: Path, module: ModuleMetadata, advance: Callable[[int], None]) -> None:
    """Write the model file; `advance` is told the bytes written. Raises what `write_gguf` raises."""
    writer = gguf.GGUFWriter(None, plan.architecture.name)
    writer.add_type(gguf.GGUFType.MODEL)
    _add_general(writer, plan)
    architectures.add_metadata(writer, plan.architecture, plan.hyperparameters)
    plan.vocabulary.add_metadata(writer)
    module.add_metadata(writer)
    write_gguf(path, writer, plan.tensors, advance)


def map_tensors(
    checkpoint: Checkpoint, architecture: Architecture, model: Hyperparameters
) -> dict[str, StoredTensor]:
    """The checkpoint's tensors by their names in GGUF, complete and without those that are not written.

    Raises UnsupportedArchitecture for a tensor that has no place, ConversionError for a missing one.
    """
    names = architecture.tensor_names(model.n_layers)
    mapped: dict[str, StoredTensor] = {}
    for name, tensor in _text_tensors(checkpoint):
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise UnsupportedArchitecture(
                f"{tensor.path}: tensor {name} has no place in a {architecture.name} model"
            )
        mapped[gguf_name] = tensor
    if model.tied_embeddings:
        mapped.pop(_OUTPUT, None)
    _check_complete(checkpoint, mapped, model)
    return mapped


def untie(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with an output of its own where it is the embedding: only so can an adapter change them.

    Raises ConversionError when there is no embedding.
    """
    config = checkpoint.config
    names = [name for name in checkpoint.tensors if text_name(name) == "model.embed_tokens.weight"]
    if not names:
        raise ConversionError(f"{checkpoint.folder} has no tensor model.embed_tokens.weight")
    untied = {"tie_word_embeddings": False}
    if "text_config" in config:
        config = {**config, "text_config": {**config["text_config"], **untied}}
    tensors = {"lm_head.weight": checkpoint.tensors[names[0]], **checkpoint.tensors}
    return replace(checkpoint, config={**config, **untied}, tensors=tensors)


def _text_tensors(checkpoint: Checkpoint) -> Iterator[tuple[str, StoredTensor]]:
    for name, tensor in checkpoint.tensors.items():
        if architectures.is_derived(name) or name.startswith(_OTHER_MODALITIES):
            continue
        yield text_name(name), tensor


def text_name(name: str) -> str:
    """A tensor's name as a checkpoint of the text model alone has it."""
    for prefix in _TEXT_PREFIXES:
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return rest if rest.startswith(("model.", "lm_head.")) else f"model.{rest}"
    return name


def _check_complete(checkpoint: Checkpoint, mapped: Iterable[str], model: Hyperparameters) -> None:
    names = set(mapped)
    suffixes = {name.split(".", 2)[2] for name in names if name.startswith("blk.")}
    expected = {f"blk.{i}.{suffix}" for i in range(model.n_layers) for suffix in suffixes}
    expected |= {_EMBEDDING, "output_norm.weight"} | (set() if model.tied_embeddings else {_OUTPUT})
    missing = sorted(expected - names)
    if missing or not suffixes:
        raise ConversionError(
            f"{checkpoint.folder} lacks {len(missing)} of {len(expected)} tensors, such as {missing[:3]}"
        )


def _check_shapes(
    checkpoint: Checkpoint,
    sources: dict[str, StoredTensor],
    architecture: Architecture,
    model: Hyperparameters,
) -> None:
    for name in {_EMBEDDING, _OUTPUT} & sources.keys():
        n_rows = sources[name].shape[0]
        if n_rows != model.n_vocab:
            raise VocabularyMismatch(
                f"{sources[name].path}: {sources[name].name} has {n_rows} rows, "
                f"{checkpoint.folder / 'config.json'} says vocab_size {model.n_vocab}"
            )
    for tensor in sources.values():
        order = architecture.row_order(tensor.name, model.heads)
        if order is not None and len(order) != tensor.shape[0]:
            raise ConversionError(
                f"{tensor.path}: {tensor.name} has {tensor.shape[0]} rows, its heads need {len(order)}"
            )


def _output_tensor(
    name: str, source: StoredTensor, architecture: Architecture, model: Hyperparameters, wanted: Type
) -> OutputTensor:
    kind = tensor_type(name, source.shape, wanted)
    order = architecture.row_order(source.name, model.heads)
    return OutputTensor(
        name, source.shape, kind, partial(encode, source, kind, order, shift=architecture.shift(name))
    )


def _frequency_tensor(model: Hyperparameters) -> tuple[OutputTensor, ...]:
    factors = architectures.llama3_frequency_factors(model)
    if factors is None:
        return ()
    chunks: list[Array] = [factors]
    return (OutputTensor("rope_freqs.weight", factors.shape, Type.F32, lambda: chunks),)


def _context_note(architecture: Architecture, model: Hyperparameters) -> tuple[str, ...]:
    n_ctx = architectures.context_length(architecture, model)
    if n_ctx == model.n_ctx:
        return ()
    reason = f"llama.cpp has no sliding window for {architecture.name}"
    return (f"context length {n_ctx} instead of {model.n_ctx}: {reason}",)


def _add_general(writer: gguf.GGUFWriter, plan: ModelPlan) -> None:
    n_parameters = sum(prod(tensor.shape) for tensor in plan.tensors)
    metadata = gguf.Metadata.load(None, plan.checkpoint.folder, None, n_parameters)
    metadata.name = metadata.name or plan.checkpoint.folder.name
    metadata.size_label = metadata.size_label or gguf.size_label(n_parameters, n_parameters, 0, 0)
    metadata.set_gguf_meta_model(writer)
    writer.add_file_type(DIRECT_TYPES[plan.type_name][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
