# Two images of one file: `tuneyard` is the API and the worker, `trainer` an example of the container that trainings are started in.

FROM python:3.11-slim AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
COPY requirements.txt /tmp/
RUN pip install --require-hashes -r /tmp/requirements.txt
# One user owns the training directory and runs everything that writes there; a new volume takes its owner from the image.
RUN useradd --uid 1000 --create-home tuneyard && install -d -o tuneyard -g tuneyard /training


FROM packages AS trainer
COPY examples/tiny_trainer /opt/trainer
USER tuneyard
WORKDIR /opt/trainer
# It only waits: trainings are started in it by docker exec.
CMD ["sleep", "infinity"]


FROM packages AS tuneyard
WORKDIR /opt/tuneyard
COPY pyproject.toml requirements.in ./
COPY domain domain
COPY infra infra
# The page for /docs comes along where `make setup` has fetched it; without it all else works.
COPY api api
COPY workers workers
COPY tuneyard tuneyard
RUN pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e . \
    && python -m compileall -q domain infra api workers tuneyard
USER tuneyard
CMD ["python", "-P", "-m", "api"]
