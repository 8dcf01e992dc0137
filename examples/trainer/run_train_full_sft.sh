#!/usr/bin/env bash
# Trains what a YAML describes: bash run_train_full_sft.sh <yaml>
# With several GPUs (or NPROC_PER_NODE) torchrun starts a process for each; exec, so that signals reach the trainer itself.
set -euo pipefail
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
python="${PYTHON:-python3}"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONUTF8=1 PYTHONSAFEPATH=1

processes="${NPROC_PER_NODE:-}"
if [ -z "$processes" ] && [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
	processes="$(tr -cd , <<<"$CUDA_VISIBLE_DEVICES" | wc -c)"
	processes=$((processes + 1))
fi
if [ "${processes:-1}" -gt 1 ]; then
	exec "$python" -m torch.distributed.run --standalone --nproc-per-node "$processes" -m llm_trainer "$@"
fi
exec "$python" -m llm_trainer "$@"
