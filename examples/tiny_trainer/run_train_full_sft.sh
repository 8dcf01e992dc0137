#!/usr/bin/env bash
# Trains the tiny language model that a YAML describes: bash run_train_full_sft.sh <yaml>
# One thread, so that a resumed run repeats an unbroken one bit for bit; exec, so that signals reach the trainer itself.
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec "${PYTHON:-python3}" -u -X utf8 "$(dirname -- "${BASH_SOURCE[0]}")/train.py" "$@"
