"""The library: what a launch names is looked up among the uploads first, then in the training directory."""

import asyncio
import os
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec.structs import replace

from domain.errors import Flaw, Invalid, Unavailable
from domain.files import Kept, Pinned
from domain.ids import ArtifactId
from domain.runs.assets import is_uploaded, source, uploaded
from domain.runs.preflight import Preflight, of_both, of_config, of_data, task_of
from domain.runs.recipe import FoundConfig, FoundDataset, Recipe, again, freeze
from domain.runs.run import NewRun
from domain.training.paths import relative_paths
from domain.training.problem import Problem, errors, shown
from domain.training.report import Report
from domain.training.rule import Rule
from infra.db.database import Database
from infra.files import yaml_text
from infra.files.beneath import open_beneath, relative
from infra.files.folder import folder_id
from infra.files.inspector import Inspector, Subject
from infra.files.store import FileStore
from infra.settings import Settings

WAIT_SECONDS = 10.0
"""A launch waits so long for data that is being judged, within what clients wait for an answer."""


class Library:
    """Uploaded files and the operator's own."""

    def __init__(self, db: Database, store: FileStore, inspector: Inspector, settings: Settings) -> None:
        self._db = db
        self._store = store
        self._inspector = inspector
        self._settings = settings

    async def recipe(self, project_ref: str, asked: NewRun, language: str = "en") -> Recipe:
        """Find all that a run needs, judge it, and freeze it; Invalid naming everything that is missing or wrong.

        Unavailable while the data is still being judged: the same request may be repeated.
        """
        return (await self.preflight(project_ref, asked)).required(language)

    async def preflight(self, project_ref: str, asked: NewRun, *, gpus: int | None = None) -> Preflight:
        """Find all that a run needs and judge it; `gpus` are those it will get, where that is known."""
        found = await self._db.read(uploaded, project_ref, asked)
        dataset = found.dataset
        if dataset is None and found.dataset_ref:
            dataset = await asyncio.to_thread(self._dataset_on_disk, found.dataset_ref)
        config = found.config
        if config is None and found.config_ref:
            config = await asyncio.to_thread(self._config_on_disk, found.config_ref)
        recipe, flaws = None, list[Flaw]()
        try:
            recipe = freeze(found.project, asked, dataset, config)
        except Invalid as refusal:
            flaws = refusal.flaws
        if recipe is None:
            return Preflight(project=found.project, recipe=None, flaws=flaws, problems=[], reports={})
        recipe = replace(recipe, folder=await asyncio.to_thread(self._folder_for, recipe))
        count = asked.resources.gpu_count if gpus is None else gpus
        problems = of_config(recipe, count or 1, written=config is not None) + await self._of_paths(recipe)
        if problems:
            lines = await asyncio.to_thread(self._places, found.config_ref, config) if config and found.config_ref else {}
            problems = [_placed(each, found.config_ref or "", config, asked, lines) for each in problems]
        reports = await self._reports(recipe, recipe.inputs)
        problems += [problem for path, report in reports.items() for problem in of_data(path, report)]
        problems += of_both(recipe, reports)
        return Preflight(project=found.project, recipe=recipe, flaws=[], problems=problems, reports=reports)

    async def resumed(
        self, project_ref: str, run_ref: str, artifact_id: str, asked: NewRun, language: str = "en"
    ) -> tuple[NewRun, Recipe, ArtifactId]:
        """Find the checkpoint that a resume names, and freeze what goes on from it; Invalid or NotFound when it cannot.

        What is asked for comes back with the source run's values where it said nothing. Data that the run was trained on already is
        not judged again.
        """
        found = await self._db.read(source, project_ref, run_ref, artifact_id, asked)
        asked, dataset = asked.laid_over(found.run), found.dataset
        if dataset is None and asked.dataset:
            dataset = await asyncio.to_thread(self._dataset_on_disk, asked.dataset)
        recipe = again(found.run, asked, dataset, found.checkpoint.relative_path, found.deid_policy)
        problems = of_config(recipe, asked.resources.gpu_count or 1, written=False)
        reports = await self._reports(recipe, recipe.inputs if dataset else {})
        problems += [problem for path, report in reports.items() for problem in of_data(path, report)]
        if wrong := errors(problems):
            flaws = [Flaw(each.place or "dataset", each.sentence(language)) for each in wrong]
            raise Invalid("the run cannot be resumed as asked: " + "; ".join(flaw.message for flaw in flaws), flaws)
        return asked, replace(recipe, folder=found.folder), found.checkpoint.id

    async def _reports(self, recipe: Recipe, inputs: dict[str, Pinned]) -> dict[str, Report]:
        """Return the reports on these files, waiting for those that are being made."""
        reports = {}
        for path, pinned in inputs.items():
            report = await self._inspector.report(Subject.of(pinned), task_of(recipe), WAIT_SECONDS)
            if report is None:
                raise Unavailable(f"the data file {path} is still being inspected; ask again in a moment", dataset=path)
            reports[path] = report
        return reports

    async def _of_paths(self, recipe: Recipe) -> list[Problem]:
        """Look up what else the config names, in the same places as its data."""
        problems = []
        for key, path in relative_paths(recipe.config):
            if not await asyncio.to_thread(self._is_there, path) and not await self._is_uploaded(path):
                problems.append(Problem(rule=Rule.path_missing, place=key, facts={"key": key, "path": shown(path)}))
        return problems

    async def _is_uploaded(self, path: str) -> bool:
        try:
            return await self._db.read(is_uploaded, path)
        except Invalid:  # several are meant, so there are some
            return True

    def _is_there(self, path: str) -> bool:
        try:
            return (self._store.root / relative(path)).exists()
        except (Invalid, OSError):
            return False

    def _places(self, config_ref: str, config: FoundConfig) -> dict[str, tuple[int, int]]:
        """Where each key's value stands in the YAML; nothing where its text is not to be had."""
        try:
            if config.sha256:
                name = PurePosixPath(config_ref).name
                return yaml_text.places(self._store.path_of(config.sha256, name).read_bytes())
            return yaml_text.places(_content(self._store.root, config_ref))
        except (OSError, Invalid):
            return {}

    async def yaml_values(self, kept: Kept) -> dict[str, Any]:
        """Read an uploaded YAML; Invalid, with line and fix, when it cannot be read safely."""
        return await asyncio.to_thread(self._yaml_values, kept)

    def _yaml_values(self, kept: Kept) -> dict[str, Any]:
        return _values((self._store.root / kept.stored_name).read_bytes(), self._settings.max_yaml_bytes)

    def _folder_for(self, recipe: Recipe) -> str | None:
        """What was never uploaded lies in this training folder and no other."""
        by_hand = any(pinned.mtime_ns is not None for pinned in recipe.inputs.values())
        return folder_id(self._store.root) if by_hand else None

    def _dataset_on_disk(self, path: str) -> FoundDataset | None:
        located = self._store.find(path)
        if located is None:
            return None
        pinned = Pinned(path=str(PurePosixPath(path)), size_bytes=located.size_bytes, mtime_ns=located.mtime_ns)
        return FoundDataset(pinned=pinned, path=path)

    def _config_on_disk(self, path: str) -> FoundConfig | None:
        limit = self._settings.max_yaml_bytes
        located = self._store.find(path)
        if located is None:
            return None
        if located.size_bytes > limit:
            message = f"training config {path} is larger than MAX_YAML_BYTES ({limit})"
            raise Invalid(message)
        return FoundConfig(values=_values(_content(self._store.root, path), limit))


def _placed(problem: Problem, config_ref: str, config: FoundConfig | None, asked: NewRun, lines: dict[str, tuple[int, int]]) -> Problem:
    """Say where the value comes from: the request, the YAML with its line, or the project's defaults."""
    key = problem.place
    if key in asked.hyperparameters:
        return replace(problem, place=f"hyperparameters.{key}")
    if config is not None and (not key or key in config.values):
        line, column = lines.get(key, (None, None))
        return replace(problem, file=config_ref, line=line, column=column)
    return problem


def _values(content: bytes, limit: int) -> dict[str, Any]:
    values = yaml_text.read(content, limit_bytes=limit)
    flaws = [
        Flaw(key, "infinity and not-a-number cannot be kept in a run's config; leave the key out")
        for key, value in values.items()
        if _endless(value)
    ]
    if flaws:
        message = "the config cannot be used: " + "; ".join(f"{flaw.field}: {flaw.message}" for flaw in flaws)
        raise Invalid(message, flaws)
    return values


def _endless(value: Any) -> bool:  # noqa: ANN401 - a YAML value
    if isinstance(value, dict):
        return any(map(_endless, value.values()))
    return any(map(_endless, value)) if isinstance(value, list) else isinstance(value, float) and not isfinite(value)


def _content(root: Path, path: str) -> bytes:
    with os.fdopen(open_beneath(root, path), "rb") as file:
        return file.read()
