"""What an adapter can be exported as."""

from __future__ import annotations

from enum import StrEnum

from pipelines.errors import SettingsError


class ExportFormat(StrEnum):
    """One form of a trained adapter."""

    ADAPTER = "adapter"  # safetensors and configuration, as peft reads them
    MERGED = "merged"  # base and adapter as one Hugging Face folder
    GGUF_Q8_0 = "gguf-q8_0"
    GGUF_Q4_0 = "gguf-q4_0"
    GGUF_F16 = "gguf-f16"
    GGUF_ADAPTER = "gguf-adapter"  # for llama.cpp, beside a GGUF of the base
    OLLAMA = "ollama"  # a Modelfile over one of the GGUF files


DEFAULT_FORMATS = "adapter, merged, gguf-q8_0, ollama"
# The GGUF files of a whole model, in the order in which a Modelfile prefers them.
WHOLE_GGUF = (ExportFormat.GGUF_Q8_0, ExportFormat.GGUF_F16, ExportFormat.GGUF_Q4_0)


def read_formats(text: str) -> tuple[ExportFormat, ...]:
    """Read formats, separated by commas; a Modelfile brings the GGUF file that it needs.

    Raises:
        SettingsError: One is not known, or there is none.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(ExportFormat)]
    if unknown or not names:
        raise SettingsError(
            f"{', '.join(unknown) or 'nothing'} is no format of an export",
            hint=f"Choose from: {', '.join(ExportFormat)}.",
        )
    wanted = {ExportFormat(name) for name in names}
    if ExportFormat.OLLAMA in wanted and not wanted & set(WHOLE_GGUF):
        wanted.add(WHOLE_GGUF[0])
    return tuple(each for each in ExportFormat if each in wanted)


def gguf_of_modelfile(formats: tuple[ExportFormat, ...]) -> ExportFormat:
    """Return which GGUF file a Modelfile stands on."""
    return next(each for each in WHOLE_GGUF if each in formats)
