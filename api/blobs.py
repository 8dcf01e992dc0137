"""Uploaded bytes for the hosts that do not share the server's training folder, by their sum."""

from litestar import Controller, get
from litestar.params import FromPath
from litestar.response import File

from api.provide import TheCaller
from domain.errors import NotFound


class BlobController(Controller):
    """What workers fetch."""

    path = "/_internal/blobs"
    include_in_schema = False

    @get("/{name:str}")
    async def fetch_blob(self, caller: TheCaller, name: FromPath[str]) -> File:
        """Send one blob; its name is its SHA-256 and its extension."""
        path = caller.world.store.path_of(name[:64], name)
        if path.name != name or not path.is_file():
            message = f"there is no blob {name}"
            raise NotFound(message)
        return File(path=path, media_type="application/octet-stream")
