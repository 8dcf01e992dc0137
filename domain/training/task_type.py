"""A task type says how a model is trained and what its YAML calls the model, the batch and the epochs."""

from msgspec import Struct

from domain.words import Word


class TaskType(Word):
    """The ways of training a run script knows."""

    sft = ("sft", "监督微调", "Supervised fine-tuning")
    rl = ("rl", "强化学习", "Reinforcement learning")
    lora = ("lora", "LoRA 微调", "LoRA fine-tuning")
    pretrain = ("pretrain", "预训练", "Pretraining")


class Keys(Struct, frozen=True):
    """What one task type's YAML calls the things every launch may set."""

    model: str
    batch_size: str
    num_epochs: str = "num_train_epochs"
    learning_rate: str = "learning_rate"

    def rename(self, name: str) -> str:
        """Return the YAML's key for a hyperparameter; unknown ones are passed on as they are."""
        return {"model": self.model, "batch_size": self.batch_size, "num_epochs": self.num_epochs}.get(name, name)


KEYS = {
    TaskType.sft: Keys(model="model_name", batch_size="per_device_train_batch_size"),
    TaskType.rl: Keys(model="policy_model", batch_size="rollout_batch_size"),
    TaskType.lora: Keys(model="base_model", batch_size="train_batch_size"),
    TaskType.pretrain: Keys(model="model_name", batch_size="global_batch_size"),
}


def task_type_of(text: object) -> TaskType | None:
    """Read a task type by code or label; None for free text such as 文本摘要."""
    return next((task for task in TaskType if text in (task, task.zh, task.en)), None)
