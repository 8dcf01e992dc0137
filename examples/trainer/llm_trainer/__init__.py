"""Trains language models from a YAML in four ways: conversations (sft), preferences or rewards (rl), adapters (lora), text (pretrain).

`recipe` reads what is asked for and `corpus` the data, both without torch, so a wrong key is told within a second. Then `weights` loads the
model, one of `conversations`, `preferences`, `rollouts` and `plain_text` puts a trainer of transformers or trl together, and `course` makes
each of them speak (`voice`), stop (`stop`), resume and save alike.
"""
