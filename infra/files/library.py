"""The library: what a launch names is looked up among the uploads first, then in the training directory."""

import asyncio
import os
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec.structs import replace

from domain.errors import Flaw, Invalid
from domain.files import Kept, Pinned
from domain.ids import ArtifactId
from domain.runs.assets import source, uploaded
from domain.runs.recipe import FoundConfig, FoundDataset, Recipe, again, freeze
from domain.runs.run import NewRun
from infra.db.database import Database
from infra.files import yaml_text
from infra.files.beneath import open_beneath
from infra.files.folder import folder_id
from infra.files.store import FileStore
from infra.settings import Settings


class Library:
    """Uploaded files and the operator's own."""

    def __init__(self, db: Database, store: FileStore, settings: Settings) -> None:
        self._db = db
        self._store = store
        self._settings = settings

    async def recipe(self, project_ref: str, asked: NewRun) -> Recipe:
        """Find all that a run needs and freeze it; Invalid naming everything that is missing or wrong."""
        found = await self._db.read(uploaded, project_ref, asked)
        dataset = found.dataset
        if dataset is None and found.dataset_ref:
            dataset = await asyncio.to_thread(self._dataset_on_disk, found.dataset_ref)
        config = found.config
        if config is None and found.config_ref:
            config = await asyncio.to_thread(self._config_on_disk, found.config_ref)
        recipe = freeze(found.project, asked, dataset, config)
        return replace(recipe, folder=await asyncio.to_thread(self._folder_for, recipe))

    async def resumed(self, project_ref: str, run_ref: str, artifact_id: str, asked: NewRun) -> tuple[Recipe, ArtifactId]:
        """Find the checkpoint that a resume names, and freeze what goes on from it; Invalid or NotFound when it cannot."""
        found = await self._db.read(source, project_ref, run_ref, artifact_id, asked)
        dataset = found.dataset
        if dataset is None and asked.dataset:
            dataset = await asyncio.to_thread(self._dataset_on_disk, asked.dataset)
        recipe = again(found.run, asked, dataset, found.checkpoint.relative_path)
        return replace(recipe, folder=found.folder), found.checkpoint.id

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
