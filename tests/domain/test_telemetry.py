"""What becomes of a trainer's raw output: real excerpts, every way of slicing them, and what should not be printed but is."""

import json
import math
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.runs.measured import documented, measured
from domain.runs.telemetry import Reader, Reading, level_of, progress

BAR = "\r 22%|██▏       | 20/90 [00:00<00:01, 53.53it/s]".encode()
CLEARED = b"\r                                               \r"
EVALUATION = b"\r  0%|          | 0/5 [00:00<?, ?it/s]\x1b[A" + CLEARED

# Hugging Face's SFTTrainer, stdout and stderr together, shortened.
SFT = (
    "\rLoading weights:   0%|          | 0/26 [00:00<?, ?it/s]\rLoading weights: 100%|██████████| 26/26 [00:00<00:00, 19222.97it/s]\n"
    "/srv/lab/training_args.py:1541: FutureWarning: `gradient_checkpointing` is deprecated\n"
    '  warnings.warn(f"`{old}` is deprecated", FutureWarning)\n'
    "ready 7.7s task=sft rows=400 params=148160 trainable=148160\n"
    "\r  0%|          | 0/90 [00:00<?, ?it/s]\r  1%|          | 1/90 [00:00<00:09,  9.63it/s]"
    "\r                                              \r{'loss': '6.958', 'grad_norm': '2.16', 'epoch': '0.01111'}\n"
    "\r  1%|          | 1/90 [00:00<00:09,  9.63it/s]"
    "\r                                              \r{'loss': '6.45', 'grad_norm': '1.453', 'epoch': '0.05556'}\n"
    "\r  6%|▌         | 5/90 [00:00<00:08,  9.63it/s]\r  8%|▊         | 7/90 [00:00<00:02, 38.27it/s]"
    "\r                                               \r{'loss': '4.291', 'grad_norm': '1.381', 'epoch': '0.2222'}\n"
    "\r 22%|██▏       | 20/90 [00:00<00:01, 53.53it/s]\n"
    "\r  0%|          | 0/5 [00:00<?, ?it/s]\x1b[A\r                                               \r\n"
    "\r                                     \r\x1b[A{'eval_loss': '3.989', 'eval_runtime': '0.049', 'epoch': '0.2222'}\n"
    "\r 22%|██▏       | 20/90 [00:00<00:01, 53.53it/s]\n"
    "\r100%|██████████| 5/5 [00:00<00:00, 128.63it/s]\x1b[A\n"
    "\r                                              \x1b[A\n"
    "\rWriting model shards:   0%|          | 0/1 [00:00<?, ?it/s]\x1b[A"
    "\rWriting model shards: 100%|██████████| 1/1 [00:00<00:00, 145.49it/s]\n"
    "\r 97%|█████████▋| 87/90 [00:02<00:00, 25.79it/s]"
    "\r                                               \r{'train_runtime': '2.942', 'train_loss': '3.099', 'epoch': '1'}\n"
    "\r100%|██████████| 90/90 [00:02<00:00, 25.79it/s]\r100%|██████████| 90/90 [00:02<00:00, 30.67it/s]\n"
    "train() 3.2s, 90/90 steps\n"
    "\n"
    "real\t0m12.176s\n"
).encode()
SFT_LINES = [
    b"/srv/lab/training_args.py:1541: FutureWarning: `gradient_checkpointing` is deprecated",
    b'  warnings.warn(f"`{old}` is deprecated", FutureWarning)',
    b"ready 7.7s task=sft rows=400 params=148160 trainable=148160",
    b"{'loss': '6.958', 'grad_norm': '2.16', 'epoch': '0.01111'}",
    b"{'loss': '6.45', 'grad_norm': '1.453', 'epoch': '0.05556'}",
    b"{'loss': '4.291', 'grad_norm': '1.381', 'epoch': '0.2222'}",
    b"{'eval_loss': '3.989', 'eval_runtime': '0.049', 'epoch': '0.2222'}",
    b"{'train_runtime': '2.942', 'train_loss': '3.099', 'epoch': '1'}",
    b"train() 3.2s, 90/90 steps",
    b"",
    b"real\t0m12.176s",
]


def read_all(pieces: list[bytes], reader: Reader | None = None) -> list[Reading]:
    """Feed pieces as a worker does: what is left is offered again, with what follows it."""
    readings, left = [], b""
    for number, piece in enumerate(pieces):
        left += piece
        reading = (reader or Reader()).read(left, final=number == len(pieces) - 1)
        assert 0 <= reading.consumed <= len(left)
        left, reader = left[reading.consumed :], reading.reader
        readings.append(reading)
    assert not left
    return readings


def lines_of(readings: list[Reading]) -> list[bytes]:
    return [line for reading in readings for line in reading.lines]


def sliced(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)] or [b""]


def test_a_real_training_shows_its_lines_and_none_of_its_bars() -> None:
    reading = Reader().read(SFT, final=True)

    assert SFT_LINES == reading.lines
    assert len(SFT) == reading.consumed
    assert reading.progress == 1.0


def test_a_dict_bears_the_step_of_the_bar_drawn_right_after_it() -> None:
    reading = Reader().read(SFT, final=True)

    assert [1, 5, 20, 20, 90] == [one.step for one in reading.metrics], "the bars before the dicts are older: 1, 1, 7, 20, 87"
    assert [3, 4, 5, 6, 7] == [one.line for one in reading.metrics]
    assert {"train/loss": 6.45, "grad_norm": 1.453} == reading.metrics[1].values
    assert {"eval/loss": 3.989, "eval/runtime": 0.049} == reading.metrics[3].values


@given(st.lists(st.integers(min_value=0), max_size=40))
def test_slicing_changes_neither_lines_nor_metrics(cuts: list[int]) -> None:
    whole = Reader().read(SFT, final=True)

    readings = read_all(sliced(SFT, cuts))

    assert whole.lines == lines_of(readings)
    assert [(one.step, one.values) for one in whole.metrics] == [(one.step, one.values) for reading in readings for one in reading.metrics]
    assert whole.reader == readings[-1].reader


PIECES = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"a",
    b"  x  ",
    b"{}",
    b"\x1b[A",
    b"\x00\xff",
    BAR,
    BAR + b"glued",
    CLEARED,
    b"{'loss': 1}",
    b"123456789",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.lists(st.integers(min_value=0), max_size=30))
def test_any_bytes_give_the_same_lines_in_any_slicing(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    reader = Reader(longest=12, total=90)

    readings = read_all(sliced(data, cuts), reader)

    assert reader.read(data, final=True).lines == lines_of(readings)


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))))
def test_ordinary_lines_stay_byte_for_byte(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)

    reading = Reader().read(data)

    assert lines == reading.lines
    assert len(data) == reading.consumed


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))))
def test_windows_line_ends_are_line_ends(lines: list[bytes]) -> None:
    reading = Reader().read(b"".join(line + b"\r\n" for line in lines))

    assert lines == reading.lines


def test_a_partial_line_waits_for_its_end() -> None:
    first = Reader().read(b"one\ntwo")
    last = Reader().read(b"two", final=True)

    assert ([b"one"], 4) == (first.lines, first.consumed)
    assert ([b"two"], 3) == (last.lines, last.consumed)


def test_a_line_without_an_end_is_cut_and_leaves_little_behind() -> None:
    data = b"x" * 1_000_000

    reading = Reader().read(data)

    assert [262_144] * 3 == [len(line) for line in reading.lines]
    assert 3 * 262_144 == reading.consumed


def test_bars_that_never_end_are_consumed_and_move_progress() -> None:
    bars = b"".join(b"\r %d%%|##  | %d/90 [00:00<00:08,  9.63it/s]" % (step, step) for step in range(50))

    reading = Reader().read(bars)

    assert [] == reading.lines
    assert len(bars) - reading.consumed < 60
    assert 49 / 90 == reading.progress, "the newest bar counts although it is not consumed"


def test_a_dict_over_a_bar_waits_for_that_bar_and_no_longer() -> None:
    reader = Reader(total=90)
    dict_line = CLEARED + b"{'loss': '6.45', 'epoch': '0.05556'}\n"

    waiting = reader.read(BAR + dict_line)
    answered = reader.read(dict_line + b"\r  6%|x         | 5/90 [00:00<00:08,  9.63it/s]")
    followed = reader.read(dict_line + b"saving\n")
    ended = reader.read(dict_line, final=True)

    assert [] == waiting.lines
    assert [5] == [one.step for one in answered.metrics]
    assert [None] == [one.step for one in followed.metrics], "no step is invented"
    assert [None] == [one.step for one in ended.metrics]


def test_a_lost_reader_costs_a_step_and_never_a_line() -> None:
    place = SFT.index(b"{'loss': '6.45'")

    before = Reader().read(SFT[:place], final=True)
    after = Reader().read(SFT[place:], final=True)

    assert SFT_LINES == before.lines + after.lines
    assert [None, 20, 20, 90] == [one.step for one in after.metrics]


def test_text_glued_to_a_bar_is_a_line_of_its_own() -> None:
    data = b"\r  0%|          | 0/25 [00:00<?, ?it/s]/srv/modeling.py:3303: FutureWarning: old\n  warnings.warn(\n"

    reading = Reader().read(data)

    assert [b"/srv/modeling.py:3303: FutureWarning: old", b"  warnings.warn("] == reading.lines


def test_text_written_through_a_bar_keeps_its_indentation_and_colours() -> None:
    data = CLEARED + b"    indented \x1b[31mred\x1b[0m   \n" + CLEARED + b"accuracy 95%\n"

    reading = Reader().read(data)

    assert [b"    indented \x1b[31mred\x1b[0m", b"accuracy 95%"] == reading.lines


@pytest.mark.parametrize(
    "bar",
    [
        b"5it [00:00, 9.63it/s]",
        b"Map (num_proc=4):  45%|###   | 450/1000 [00:01<00:02, 300.00 examples/s]",
        b"model.safetensors:  45%|###  | 1.2G/2.7G [00:10<00:12, 120MB/s]",
        b"  6% 5/90 [00:00<00:08,  9.63it/s, loss=0.5, lr=[0.1]]",
        "Training ━━━━━━━━╸━━━━━━━  45% 0:00:12".encode(),
        b"[=====>        ] 40%",
    ],
)
def test_bars_of_every_make_are_no_lines(bar: bytes) -> None:
    reading = Reader().read(b"\r" + bar + b"\r" + bar + b"\n")

    assert [] == reading.lines


def test_bars_of_other_things_do_not_move_progress() -> None:
    other = b"\rTokenizing: 100%|####| 360/360 [00:00<00:00, 4497.10 examples/s]\n" + EVALUATION + b"\n"

    assert Reader().read(other).progress is None
    assert Reader(max_steps=90).read(b"\r100%|####| 5/5 [00:00<00:00, 4.10it/s]\r\n").progress is None
    assert 20 / 90 == Reader(max_steps=90).read(BAR + other).progress


def test_an_evaluation_after_the_training_does_not_turn_progress_back() -> None:
    reading = Reader().read(SFT + b"\r  0%|          | 0/5 [00:00<?, ?it/s]\r 40%|####      | 2/5 [00:00<00:00,  9.00it/s]\n", final=True)

    assert reading.progress == 1.0


def test_json_lines_are_metrics() -> None:
    line = (
        b'{"step": 7, "loss": 0.5, "reward": 1.5, "kl": 0.01, "eval_rouge_l": 0.4, "tokens_per_second": 900, "phase": "train", "ok": true}'
    )

    found = measured(line)

    assert found is not None
    expected = {"train/loss": 0.5, "reward/mean": 1.5, "kl_divergence": 0.01, "eval/rougeL": 0.4, "tokens/s": 900.0}
    assert (7, expected) == (found.step, found.values)


def test_llama_factorys_log_tells_steps_and_progress() -> None:
    line = (
        b'{"current_steps": 5, "total_steps": 90, "loss": 6.45, "lr": 2e-05, "epoch": 0.05, "percentage": 5.56,'
        b' "elapsed_time": "0:00:05", "remaining_time": "0:01:25"}\n'
    )

    reading = Reader().read(line)

    assert [(5, 0.05, {"train/loss": 6.45, "lr": 2e-05})] == [(one.step, one.epoch, one.values) for one in reading.metrics]
    assert 5 / 90 == reading.progress


def test_progress_is_counted_in_steps_else_in_epochs() -> None:
    line = b'{"step": 5, "epoch": 0.3, "loss": 1.0}\n'

    assert 0.05 == Reader(max_steps=100, epochs=3).read(line).progress
    assert pytest.approx(0.1) == Reader(max_steps=-1, epochs=3).read(line).progress
    assert Reader().read(line).progress is None


@pytest.mark.parametrize("line", [b'{"step": 1, "loss": NaN, "grad_norm": Infinity}', b"{'step': 1, 'loss': nan, 'grad_norm': inf}"])
def test_nan_and_infinity_are_kept_as_emitted(line: bytes) -> None:
    found = measured(line)

    assert found is not None
    assert math.isnan(found.values["train/loss"])
    assert math.inf == found.values["grad_norm"]


def test_numbers_in_numpys_wrapping_are_read() -> None:
    found = measured(b"{'loss': np.float64(0.25), 'note': None, 'epoch': 1.0}")

    assert found is not None
    assert {"train/loss": 0.25} == found.values


def test_a_logging_prefix_may_stand_before_the_dict() -> None:
    found = measured(b"[INFO|trainer.py:3503] 2026-11-20 21:53:16,101 >> {'loss': 0.25, 'epoch': 1.0}")

    assert found is not None
    assert {"train/loss": 0.25} == found.values


def test_the_mean_over_a_run_is_no_newer_loss() -> None:
    found = measured(b"{'train_runtime': '2.942', 'train_loss': '3.099', 'epoch': '1'}")

    assert found is not None
    assert {"train/runtime": 2.942, "train/loss_mean": 3.099} == found.values


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[1, 2]",
        b"{'learning_rate': 2e-5, 'kl_coef': 0.1, 'batch_size': 4}",
        b'{"level": "info", "message": "hello", "pid": 12}',
        b"non-default args: {'model': 'tiny', 'epoch': 3}",
        b'{"loss": "0.5"}',
        b'{"loss": true}',
        b'{"step": "install"}',
        b'{"loss": 0.5',
        b"{'loss': __import__('os').getpid()}",
        b'{"loss": \xff}',
        b'{"a":' * 100_000 + b"}",
        b"{'a': " * 5_000 + b"}",
        b'{"loss": 1, "x": "' + b"x" * 100_000 + b'"}',
    ],
)
def test_other_lines_are_no_metrics(line: bytes) -> None:
    assert measured(line) is None


def test_hostile_names_and_numbers_are_left_out() -> None:
    found = measured(b'{"loss": 1, "step": 1e300, "a\\u0000b": 1, "\\ud800": 2, "' + b"n" * 300 + b'": 3, "huge": 1' + b"0" * 400 + b"}")

    assert found is not None
    assert (None, {"train/loss"}) == (found.step, set(found.values) - {"huge"})


def test_two_names_for_one_metric_keep_both_values() -> None:
    found = measured(b'{"step": 1, "loss": 0.5, "train_loss": 0.7}')

    assert found is not None
    assert {"train/loss": 0.5, "train_loss": 0.7} == found.values


@pytest.mark.parametrize(
    ("emitted", "name"),
    [
        ("loss", "train/loss"),
        ("train_loss", "train/loss"),
        ("eval_loss", "eval/loss"),
        ("eval_rougeL", "eval/rougeL"),
        ("eval/rouge-l", "eval/rougeL"),
        ("eval_alpaca_loss", "eval/alpaca_loss"),
        ("learning_rate", "learning_rate"),
        ("rewards/chosen", "rewards/chosen"),
        ("train", "train"),
    ],
)
def test_well_known_names_become_the_documented_ones(emitted: str, name: str) -> None:
    assert name == documented(emitted)


def test_progress_of_a_living_run_is_neither_nothing_nor_all() -> None:
    assert [0.05, 0.5, 0.99] == [progress(fraction) for fraction in (0.0, 0.5, 1.0)]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (b"ready 7.7s task=sft rows=400", "INFO"),
        (b"", "INFO"),
        (b"\xff\xfe\x00", "INFO"),
        (b"WARNING use_8bit ignored: no CUDA device", "WARNING"),
        (b"/srv/lab/training_args.py:1541: FutureWarning: `gradient_checkpointing` is deprecated", "WARNING"),
        (b"[WARN|trainer.py:12] slow", "WARNING"),
        ("[ERROR] 内存不足", "ERROR"),
        (b"[E1120 21:31:51 ProcessGroupNCCL.cpp:633] timeout", "INFO"),
        (b"E1120 21:31:51.123456 4242 socket.cpp:633] timeout", "ERROR"),
        (b"W1120 21:31:51.123456 4242 torchrun.py:1] slow", "WARNING"),
        (b"Traceback (most recent call last):", "ERROR"),
        (b"torch.cuda.OutOfMemoryError: CUDA out of memory.", "ERROR"),
        (b"KeyboardInterrupt", "ERROR"),
        (b"    raise ValueError(x)", "INFO"),
        (b"(APIServer pid=31631) INFO 11-20 21:31:51 [x.py:1] no ERROR so far", "INFO"),
        (b"(APIServer pid=31631) WARNING 11-20 21:31:51 [x.py:255] error current limit", "WARNING"),
        (b'{"level": "error", "message": "no"}', "ERROR"),
        (b"level=warn msg=slow", "WARNING"),
        (b"2026-11-20 21:31:51 DEBUG engine", "DEBUG"),
        (b"eval INFORMATION and WARNINGS_ERRORS", "INFO"),
    ],
)
def test_a_line_bears_the_level_of_its_first_marker(line: bytes | str, level: str) -> None:
    assert level == level_of(line)


@pytest.mark.parametrize(
    "hostile",
    [
        b"\r" + b" " * 2_000_000 + b"x",
        b"\r" + b"\x1b[A" * 500_000 + b"\r",
        b"\r" * 500_000,
        (b"\r" + b" " * 1_900 + b"[1:11<") * 500 + b"\r",
        (b"\r" + b"1 [1:11<" * 200) * 500 + b"\r",
        (b"\r" + b"1" * 1_900) * 500 + b"\r",
        b"{'a': " + b"nan, " * 12_000 + b"}\n",
        b"{'loss': 1}\n" * 50_000,
    ],
    ids=["blanks", "escapes", "returns", "blanks and clocks", "clocks", "digits", "words", "dicts"],
)
def test_hostile_output_costs_no_more_than_any_other(hostile: bytes) -> None:
    started = time.process_time()

    Reader(total=90).read(hostile, final=True)

    assert time.process_time() - started < 5, "a quadratic pattern takes minutes for these"


@pytest.mark.bench
def test_a_hundred_thousand_lines_a_second_leave_room_for_the_rest() -> None:
    plain = b"".join(b"L %d 5f2c8a17\n" % number for number in range(100_000))
    metrics = b"".join(json.dumps({"step": step, "loss": 1.5, "grad_norm": 0.3}).encode() + b"\n" for step in range(20_000))

    plain_cost, metric_cost = (_seconds_per_line(data) for data in (plain, metrics))

    assert plain_cost < 3e-6
    assert metric_cost < 60e-6


def _seconds_per_line(data: bytes) -> float:
    started = time.process_time()
    Reader().read(data)
    return (time.process_time() - started) / data.count(b"\n")
