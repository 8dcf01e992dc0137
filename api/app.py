"""The application: controllers, dependencies and errors put together; nothing happens at import."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from api import problems, provide
from api.artifacts import ArtifactController
from api.blobs import BlobController
from api.body import LARGEST_BODY, StrictRequest
from api.dataset_files import DatasetFileController
from api.dataset_versions import DatasetVersionController
from api.datasets import DatasetController, UploadController
from api.deid import DeidController
from api.deployments import DeploymentController
from api.docs import assets, describe_operations, openapi_config, openapi_json
from api.events import EventController
from api.follow import closing_at_signals
from api.gateway import GatewayController, open_gateway
from api.health import HealthController
from api.hosts import HostController
from api.jobs import DeidentificationController, JobController
from api.parameters import note_parameters, refuse_unknown
from api.projects import ProjectController
from api.reports import ReportController
from api.run_logs import RunLogController
from api.runs import RunController
from api.security import Doorkeeper
from api.train_config_versions import TrainConfigVersionController
from api.train_configs import TrainConfigController, TrainConfigsController
from api.tus import TusController
from api.usage import UsageController
from infra import tasks
from infra.files.tidying import keep_tidy
from infra.settings import Settings, load
from infra.wiring import open_world

DATABASE_PATIENCE_SECONDS = 2.0
"""A request that the database does not answer is a 503 by then."""


def create_app(settings: Settings | None = None) -> Litestar:
    """Return the application; settings come from the environment unless given."""
    settings = settings or load()
    documented: list[ControllerRouterHandler] = [
        ProjectController,
        RunController,
        RunLogController,
        ArtifactController,
        DeploymentController,
    ]
    app = Litestar(
        route_handlers=[
            Router("/", route_handlers=documented),
            Router("/v1", route_handlers=documented, include_in_schema=False),
            Router("/v1", route_handlers=[EventController]),
            DatasetController,
            DatasetVersionController,
            DatasetFileController,
            ReportController,
            TusController,
            UploadController,
            TrainConfigController,
            TrainConfigsController,
            TrainConfigVersionController,
            HostController,
            DeidentificationController,
            JobController,
            DeidController,
            GatewayController,
            UsageController,
            BlobController,
            HealthController,
            openapi_json,
            assets(),
        ],
        dependencies=provide.dependencies(),
        before_request=refuse_unknown,
        exception_handlers={Exception: problems.unexpected},
        lifespan=[_lifespan],
        logging_config=None,
        middleware=[Doorkeeper(settings.token)],
        openapi_config=openapi_config(),
        plugins=[problems.plugin()],
        request_class=StrictRequest,
        request_max_body_size=LARGEST_BODY,
        state=State({"settings": settings}),
    )
    describe_operations(app)
    note_parameters(app)
    return app


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    """Open the world, and close every open stream before the server waits for it."""
    app.state.closing = asyncio.Event()
    async with (
        open_world(app.state.settings, patience=DATABASE_PATIENCE_SECONDS) as world,
        open_gateway(world, app.state.closing) as gateway,
    ):
        app.state.world, app.state.gateway = world, gateway
        tidying = asyncio.create_task(keep_tidy(world.db.acting("janitor"), world.arriving, app.state.settings))
        try:
            with closing_at_signals(app.state.closing):
                yield
        finally:
            await tasks.end([tidying])
