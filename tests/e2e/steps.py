"""The flow that the users' documents tell in five steps, with their own data and YAMLs, as they are printed there."""

from typing import Any

import yaml

from tests.house import House

SFT = """\
task_type: sft
model_name: qwen-7b
dataset: datasets/sft_dataset.jsonl
max_seq_length: 2048
per_device_train_batch_size: 4
learning_rate: 2e-5
num_train_epochs: 3
"""
RL = """\
task_type: rl
algorithm: ppo
policy_model: qwen-7b-sft
reward_model: qwen-7b-rm
dataset: datasets/rl_preference.jsonl
rollout_batch_size: 16
update_epochs: 4
kl_target: 0.1
"""
LORA = """\
task_type: lora
base_model: llama2-7b
dataset: datasets/lora_demo.jsonl
lora_r: 8
lora_alpha: 16
lora_dropout: 0.05
train_batch_size: 64
gradient_accumulation_steps: 4
use_8bit: true
"""
PRETRAIN = """\
task_type: pretrain
model_name: llama2-7b
dataset: datasets/pretrain_corpus.jsonl
sequence_length: 4096
global_batch_size: 1024
learning_rate: 3e-4
warmup_ratio: 0.01
tokenizer: configs/tokenizer.model
"""
DATA = {
    "sft_dataset.jsonl": """\
{"conversation_id": "demo-001", "messages": [{"role": "user", "content": "指令"}, {"role": "assistant", "content": "回答"}], \
"task_tags": ["qa"], "metadata": {"language": "zh"}}
{"conversation_id": "demo-002", "messages": [{"role": "user", "content": "请总结"}, {"role": "assistant", "content": "总结内容"}]}
""",
    "rl_preference.jsonl": """\
{"prompt": "请写一首短诗", "chosen": "春风拂面...", "rejected": "我不知道", "metadata": {"source": "beta-feedback"}}
{"prompt": "翻译：Hello", "responses": [{"content": "你好", "score": 0.9}, {"content": "您好", "score": 0.7}]}
""",
    "lora_demo.jsonl": """\
{"conversation_id": "lora-001", "messages": [{"role": "user", "content": "写一封感谢信"}, {"role": "assistant", \
"content": "亲爱的团队..."}], "target_modules": ["q_proj", "v_proj"], "rank": 8}
""",
    "pretrain_corpus.jsonl": """\
{"doc_id": "pt-0001", "text": "大模型预训练语料第一段...", "metadata": {"domain": "finance"}}
{"doc_id": "pt-0002", "text": "第二段语料..."}
""",
}


def five_steps(house: House, name: str, config: str, *, within: float, **overrides: object) -> dict[str, Any]:
    """Register a dataset and fill it, upload a YAML, register a project, launch; the run once it has succeeded."""
    register(house, name, config)
    run = house.ended(name, house.launch(name, hyperparameters=overrides), within=within)
    assert "succeeded" == run["status"], "\n".join(house.lines(name, run["name"])[-20:])
    return run


def register(house: House, name: str, config: str) -> None:
    """Take the first four steps; data that the house has already is not uploaded again, since its name must stay the only one."""
    asked = yaml.safe_load(config)
    file = asked["dataset"].removeprefix("datasets/")
    known = {each["name"] for each in house.ok("GET", "/v1/datasets")}
    if file not in known:
        house.ok("POST", "/v1/datasets", json={"name": file, "task_type": asked["task_type"]})
        house.ok("PUT", f"/v1/datasets/{file}/files", files={"file": (file, DATA[file].encode())})
    house.ok("PUT", "/v1/train-config", files={"file": (f"{name}.yaml", config.encode())})
    body = {"name": name, "dataset_name": asked["dataset"], "training_yaml_name": f"configs/{name}.yaml"}
    house.ok("POST", "/projects", json=body)


def left(run: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the kinds and the first names of what a run left behind."""
    return {(each["type"], each["path"].rpartition("/output/")[2].split("/")[0]) for each in run["artifacts"]}
