"""The interactive documentation at `/docs`, from files of this machine: it works without the internet."""

import inspect
import re
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router

from api.problems import DESCRIBED, MEDIA_TYPE, Problem

ASSETS = Path(__file__).parent / "web" / "swagger-ui"
"""Brought by `make setup` from npm; without it the page has no script, and says so in the browser's console."""
_BASE = "/docs/assets"
_FIRST_WORDS = re.compile(r"[.:;](?:\s|$)")
"""Where the line ends that stands for a docstring in a list."""


def openapi_config() -> OpenAPIConfig:
    """Describe the API, and the page that lets people try it."""
    swagger = SwaggerRenderPlugin(
        path="/",
        js_url=f"{_BASE}/swagger-ui-bundle.js",
        css_url=f"{_BASE}/swagger-ui.css",
        standalone_preset_js_url=f"{_BASE}/swagger-ui-standalone-preset.js",
        favicon=f'<link rel="icon" href="{_BASE}/favicon-32x32.png">',
    )
    return OpenAPIConfig(
        title="Tuneyard",
        version="0.1.0",
        description="LLM 训练管理 API · training projects, datasets, configs, runs.",
        path="/docs",
        render_plugins=[swagger],
        use_handler_docstrings=True,
    )


def assets() -> Router:
    """Serve the page's own files; where nobody brought them, there are none."""
    return create_static_files_router(path=_BASE, directories=[ASSETS], include_in_schema=False)


def describe_operations(app: Litestar) -> None:
    """Let every operation say in a line what it does, and in which shape it answers errors; the stock document shows others."""
    shown = {status: ResponseSpec(Problem, description=text, media_type=MEDIA_TYPE) for status, text in DESCRIBED.items()}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                handler.responses = shown | dict(handler.responses or {})
                handler.summary = _FIRST_WORDS.split(inspect.getdoc(handler.fn) or "", maxsplit=1)[0] or None


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_json(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Give the OpenAPI document."""
    return request.app.openapi_schema.to_schema()
