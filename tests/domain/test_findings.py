"""What is recognised in the listings of real trainings, and what is passed over."""

from domain.runs.artifact import ArtifactType, Found
from domain.runs.checkpoint import Verdict
from domain.runs.findings import File, recognise

# Excerpts of what Hugging Face trainers left: bytes and path.
SFT = """
1307 README.md
780 checkpoint-20/config.json
595304 checkpoint-20/model.safetensors
1207137 checkpoint-20/optimizer.pt
57616 checkpoint-20/tokenizer.json
2564 checkpoint-20/trainer_state.json
5841 checkpoint-20/training_args.bin
780 checkpoint-90/config.json
595304 checkpoint-90/model.safetensors
8021 checkpoint-90/trainer_state.json
7072 metrics.jsonl
163 model_final/chat_template.jinja
780 model_final/config.json
195 model_final/generation_config.json
595304 model_final/model.safetensors
57616 model_final/tokenizer.json
287 model_final/tokenizer_config.json
5841 model_final/training_args.bin
14761 runs/Nov20_21-53-16_vm/events.out.tfevents.1795211596.vm.11607.0
"""
LORA = """
5226 adapter_final/README.md
1108 adapter_final/adapter_config.json
17416 adapter_final/adapter_model.safetensors
57616 adapter_final/tokenizer.json
1108 checkpoint-45/adapter_config.json
17416 checkpoint-45/adapter_model.safetensors
4679 checkpoint-45/trainer_state.json
"""


def listing(text: str) -> list[File]:
    """Return a listing whose lines were each modified a second after the one before."""
    lines = (line.split(" ", 1) for line in text.strip().splitlines())
    return [File(path, int(size), float(second)) for second, (size, path) in enumerate(lines)]


def whole(kind: ArtifactType, path: str, files: dict[str, int]) -> Verdict:  # noqa: ARG001 - it calls everything complete
    return Verdict(complete=True)


def found_in(text: str) -> list[tuple[str, str]]:
    return [(found.type.value, found.path) for found in recognise(listing(text), whole)]


def test_a_training_leaves_checkpoints_a_model_its_tokenizer_events_and_logs() -> None:
    assert [
        ("checkpoint", "checkpoint-20"),
        ("checkpoint", "checkpoint-90"),
        ("model", "model_final"),
        ("tokenizer", "model_final"),
        ("event", "runs/Nov20_21-53-16_vm"),
        ("log", "metrics.jsonl"),
    ] == found_in(SFT)


def test_a_lora_training_leaves_an_adapter_and_no_model() -> None:
    assert [("checkpoint", "checkpoint-45"), ("adapter", "adapter_final"), ("tokenizer", "adapter_final")] == found_in(LORA)


def test_a_finding_sums_its_files_and_bears_the_newest_time() -> None:
    found = recognise(listing(SFT), whole)

    expected = Found(
        type=ArtifactType.checkpoint,
        path="checkpoint-20",
        name="checkpoint-20",
        step=20,
        size_bytes=780 + 595304 + 1207137 + 57616 + 2564 + 5841,
        modified_at=6.0,
    )
    assert expected == found[0]
    assert ("model_final/tokenizer", 163 + 57616 + 287) == (found[3].name, found[3].size_bytes)


def test_what_the_judge_says_is_what_is_listed() -> None:
    asked: list[tuple[ArtifactType, str, dict[str, int]]] = []

    def judge(kind: ArtifactType, path: str, files: dict[str, int]) -> Verdict:
        asked.append((kind, path, files))
        return Verdict(complete=False, missing="the head is missing", step=19)

    found = recognise(listing(LORA), judge)

    assert [(False, "the head is missing", 19)] * 2 == [(one.complete, one.missing, one.step) for one in found[:2]]
    assert (
        ArtifactType.checkpoint,
        "checkpoint-45",
        {"adapter_config.json": 1108, "adapter_model.safetensors": 17416, "trainer_state.json": 4679},
    ) in asked


def test_stages_of_a_pretraining_are_checkpoints_in_order_of_their_steps() -> None:
    text = "1 step-10000/model.safetensors\n1 step-9000/model.safetensors\n1 stage1/checkpoint-5/global_step5/mp_rank_00_model_states.pt"

    found = recognise(listing(text), whole)

    assert [("stage1/checkpoint-5", 5), ("step-9000", 9000), ("step-10000", 10000)] == [(one.path, one.step) for one in found]


def test_an_output_folder_may_itself_be_the_model() -> None:
    text = (
        "9 config.json\n9 model.safetensors\n9 tokenizer.model\n9 train.yaml\n9 training_args.bin\n9 eval_results.json\n9 trainer_log.jsonl"
    )

    found = recognise(listing(text), whole)

    assert [
        ("model", ".", "model"),
        ("tokenizer", ".", "tokenizer"),
        ("evaluation", "eval_results.json", "eval_results.json"),
        ("config", "train.yaml", "train.yaml"),
        ("config", "training_args.bin", "training_args.bin"),
        ("log", "trainer_log.jsonl", "trainer_log.jsonl"),
    ] == [(one.type.value, one.path, one.name) for one in found]


def test_a_model_may_come_without_a_config_where_the_folder_says_so() -> None:
    assert [("model", "model_final")] == found_in("9 model_final/model.safetensors\n9 data/train.safetensors")


def test_what_is_being_written_is_not_listed() -> None:
    text = "\n".join(
        f"9 {path}"
        for path in (
            "tmp-checkpoint-20/model.safetensors",
            "checkpoint-20.tmp/model.safetensors",
            "eval_results.json.tmp",
            ".cache/model_final/model.safetensors",
            "model_final.partial/model.safetensors",
            "tmp-save/checkpoint-20/model.safetensors",
        )
    )

    assert [] == found_in(text)


def test_a_temporary_file_inside_a_checkpoint_is_shown_to_the_judge() -> None:
    seen: list[str] = []

    def judge(kind: ArtifactType, path: str, files: dict[str, int]) -> Verdict:  # noqa: ARG001 - only the files matter here
        seen.extend(files)
        return Verdict(complete=False, missing="not finished")

    recognise(listing("9 checkpoint-20/model.safetensors.tmp"), judge)

    assert ["model.safetensors.tmp"] == seen


def test_evaluations_and_logs_are_found_anywhere_but_in_checkpoints() -> None:
    text = "9 eval/rouge_eval.json\n9 logs/train.log\n9 checkpoint-20/eval_results.json\n9 all_results.json\n9 notes.txt"

    assert [
        ("checkpoint", "checkpoint-20"),
        ("evaluation", "all_results.json"),
        ("evaluation", "eval/rouge_eval.json"),
        ("log", "logs/train.log"),
    ] == found_in(text)
