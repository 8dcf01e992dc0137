"""Every rule for data, configs and launches: a code that stays, how bad it is to break it, what to say, and how to mend it.

An error keeps a launch back, a warning does not. Texts are templates: what stands in braces is a fact of the place that broke the rule.
"""

from enum import StrEnum
from typing import Self

from domain.words import Word

VERSION = 1
"""Of these rules and how they are applied; a report by an older version is made anew."""


class Severity(Word):
    """Whether a problem keeps a launch back."""

    error = ("error", "错误", "Error")
    warning = ("warning", "警告", "Warning")


E, W = Severity.error, Severity.warning


class Rule(StrEnum):
    """A member is declared as `code = ("code", severity, "什么不对", "怎么改", "what is wrong", "how to mend it")`."""

    severity: Severity
    zh: str
    fix_zh: str
    en: str
    fix_en: str

    def __new__(cls, code: str, severity: Severity, zh: str, fix_zh: str, en: str, fix_en: str) -> Self:
        """Make the member whose value is the code."""
        rule = str.__new__(cls, code)
        rule._value_ = code
        rule.severity, rule.zh, rule.fix_zh, rule.en, rule.fix_en = severity, zh, fix_zh, en, fix_en
        return rule

    # The file and its JSON, whatever is trained.
    empty_file = (
        "empty_file",
        E,
        "文件里没有任何样本",
        "请检查导出步骤后重新上传",
        "the file holds no sample",
        "look at what exported it, then upload it again",
    )
    not_text = (
        "not_text",
        E,
        "文件内容是 {format}，不是文本",
        "请上传 JSONL；压缩文件须以 .gz 或 .zst 结尾",
        "the content is {format}, not text",
        "upload JSONL; a compressed file must be named .gz or .zst",
    )
    cut_off = (
        "cut_off",
        E,
        "此行之后的压缩数据读不出来（{reason}）",
        "请重新压缩并上传",
        "what is packed after this line cannot be read ({reason})",
        "compress and upload it again",
    )
    one_array = (
        "one_array",
        E,
        "文件是一个 JSON 数组或跨多行的 JSON，不是 JSONL",
        "每行写一个 JSON 对象，例如用 `jq -c '.[]'` 转换",
        "the file is one JSON array, or JSON over several lines, not JSONL",
        "write one JSON object per line, for example with `jq -c '.[]'`",
    )
    bom = (
        "bom",
        E,
        "文件以字节顺序标记（BOM）开头，多数训练程序读不了第一行",
        "请另存为不带 BOM 的 UTF-8",
        "the file begins with a byte order mark (BOM), and most trainers cannot read the first line then",
        "save it as UTF-8 without BOM",
    )
    crlf = (
        "crlf",
        W,
        "行尾是 Windows 的 CRLF",
        "可用 `dos2unix` 转成 LF",
        "the line ends with CRLF, as on Windows",
        "convert the file to LF, for example with `dos2unix`",
    )
    blank_line = ("blank_line", W, "空行，不算样本", "删除空行", "the line is blank, so it is no sample", "remove it")
    line_too_long = (
        "line_too_long",
        E,
        "这一行有 {bytes} 字节，超过单行上限 {limit}",
        "把样本拆成多行",
        "the line has {bytes} bytes; at most {limit} are accepted",
        "split the sample into several lines",
    )
    nul = (
        "nul",
        E,
        "含有 NUL 字符（U+0000）",
        "删除该字符；文件可能是 UTF-16 编码，请另存为 UTF-8",
        "holds a NUL character (U+0000)",
        "remove it; if the file is UTF-16, save it as UTF-8",
    )
    bad_utf8 = (
        "bad_utf8",
        E,
        "不是有效的 UTF-8（字节 0x{byte}）",
        "请把文件转成 UTF-8，例如 `iconv -f GB18030 -t UTF-8`",
        "is not valid UTF-8 (byte 0x{byte})",
        "convert the file to UTF-8, for example with `iconv -f GB18030 -t UTF-8`",
    )
    broken_json = (
        "broken_json",
        E,
        "不是有效的 JSON：{reason_zh}",
        "修正该处，或用 JSON 库重新导出这一行",
        "is not valid JSON: {reason_en}",
        "mend it there, or export the line again with a JSON library",
    )
    two_values = (
        "two_values",
        E,
        "一行里有不止一个 JSON 值",
        "每行只写一个 JSON 对象，在此处换行",
        "there is more than one JSON value on the line",
        "write one JSON object per line: break the line here",
    )
    raw_control = (
        "raw_control",
        E,
        "字符串里有未转义的控制字符 {character}",
        "按 JSON 转义（换行写成 \\n，制表符写成 \\t），其余删除",
        "a string holds the raw control character {character}",
        "escape it as JSON does (\\n for a line break, \\t for a tab), or remove it",
    )
    nan_value = (
        "nan_value",
        E,
        "{value} 不是 JSON 的数值",
        "改为有限的数或 null",
        "{value} is no number of JSON",
        "write a finite number or null",
    )
    duplicate_key = (
        "duplicate_key",
        E,
        "同一对象里键 {key} 出现了两次，只有一个会被读到",
        "只保留一个",
        "the key {key} stands twice in one object, and only one would be read",
        "keep one of them",
    )
    lone_surrogate = (
        "lone_surrogate",
        E,
        "含有半个代理对 {character}，不是完整的字符",
        "补全转义（如 \\ud83d\\ude00）或删除",
        "holds {character}, half of a surrogate pair, which is no character",
        "complete the escape (such as \\ud83d\\ude00) or remove it",
    )
    too_deep = (
        "too_deep",
        E,
        "嵌套超过 {limit} 层",
        "把结构改平，或删除多余的嵌套",
        "is nested more than {limit} levels deep",
        "make it flatter",
    )
    not_an_object = (
        "not_an_object",
        E,
        "这一行是{kind_zh}，不是 JSON 对象",
        '每行写一个 {{"键": 值}} 形式的对象',
        "the line is {kind_en}, not a JSON object",
        'write one object per line, as {{"key": value}}',
    )
    control_character = (
        "control_character",
        E,
        "文本含有控制字符 {character}，预训练语料须先清洗",
        "删除控制字符（制表符与换行除外）",
        "the text holds the control character {character}; text for pretraining must be clean",
        "remove control characters (tabs and line breaks may stay)",
    )
    control_in_text = (
        "control_in_text",
        W,
        "文本含有控制字符 {character}，模型会照样学到",
        "若非有意，请删除",
        "the text holds the control character {character}, and the model would learn it",
        "remove it unless it is meant",
    )
    repeated = (
        "repeated",
        W,
        "与第 {first} 行内容相同",
        "若非有意加权，请去重",
        "says the same as line {first}",
        "remove the copy, unless it is to count twice",
    )
    other_task = (
        "other_task",
        E,
        "这一行是 {found} 的样本，而文件按 {wanted} 检查",
        "把不同任务的样本分到不同文件，或改正 task_type",
        "the line is a sample for {found}, but the file is for {wanted}",
        "keep the samples of one task in one file, or correct the task_type",
    )
    other_format = (
        "other_format",
        E,
        "这一行是 {format} 格式，没有 `messages`",
        '转换成 "messages": [{{"role": "user", "content": …}}, {{"role": "assistant", "content": …}}]',
        "the line is in the format of {format}, without `messages`",
        'convert it to "messages": [{{"role": "user", "content": …}}, {{"role": "assistant", "content": …}}]',
    )

    # Fields of a sample.
    missing_field = ("missing_field", E, "缺少 `{field}`", "补上它，类型是{kind_zh}", "has no `{field}`", "add it, as {kind_en}")
    wrong_kind = (
        "wrong_kind",
        E,
        "`{field}` 应为{kind_zh}，实为{found_zh}",
        "改成{kind_zh}",
        "`{field}` must be {kind_en}, not {found_en}",
        "make it {kind_en}",
    )
    empty_text = (
        "empty_text",
        E,
        "`{field}` 为空",
        "填写内容，或删除这个样本",
        "`{field}` is empty",
        "write its text, or remove the sample",
    )
    unknown_role = (
        "unknown_role",
        E,
        "角色 {role} 不认识",
        "改为 system、user、assistant 或 tool",
        "the role {role} is unknown",
        "use system, user, assistant or tool",
    )
    no_user = (
        "no_user",
        E,
        "对话里没有 user 消息",
        "至少要有一问一答",
        "no message is from the user",
        "give at least one question and one answer",
    )
    no_assistant = (
        "no_assistant",
        E,
        "对话里没有 assistant 消息，没有可学的回答",
        "补上回答",
        "no message is from the assistant, so there is no answer to learn",
        "add the answer",
    )
    assistant_first = (
        "assistant_first",
        E,
        "第一条（system 之后）是 {role}，应当是 user",
        "让对话从 user 消息开始",
        "the first message (after system) is from {role}, not from the user",
        "begin the conversation with the user",
    )
    late_system = (
        "late_system",
        E,
        "system 消息不在开头",
        "把 system 消息移到第一条，或改用 `system_prompt`",
        "a system message comes after others",
        "move it to the front, or use `system_prompt`",
    )
    same_role_twice = (
        "same_role_twice",
        W,
        "连续两条 {role} 消息，部分对话模板会拒绝",
        "合并成一条，或补上中间的消息",
        "two messages from {role} follow each other, which some chat templates refuse",
        "join them, or add the message between them",
    )
    no_last_answer = (
        "no_last_answer",
        W,
        "对话以 {role} 结尾，最后一轮没有可学的回答",
        "补上回答，或删去最后一条",
        "the conversation ends with {role}, so its last turn teaches nothing",
        "add the answer, or remove the last message",
    )
    lost_tool = (
        "lost_tool",
        W,
        "tool 消息之前没有 assistant 的调用",
        "把 tool 消息放在发起调用的 assistant 消息之后",
        "a tool message does not follow the assistant that called the tool",
        "put it after the assistant's call",
    )
    no_pair = (
        "no_pair",
        E,
        "既没有 `chosen`/`rejected`，也没有 `responses`",
        "补上偏好对，或带分数的 `responses`",
        "has neither `chosen` and `rejected` nor `responses`",
        "add the pair, or `responses` with scores",
    )
    half_pair = (
        "half_pair",
        E,
        "有 `{present}` 却没有 `{absent}`",
        "补上 `{absent}`",
        "has `{present}` but no `{absent}`",
        "add `{absent}`",
    )
    same_pair = (
        "same_pair",
        W,
        "`chosen` 与 `rejected` 相同，没有可学的偏好",
        "换成不同的回答，或删除这个样本",
        "`chosen` and `rejected` are the same, so there is no preference to learn",
        "give different answers, or remove the sample",
    )
    two_styles = (
        "two_styles",
        W,
        "同时有 `chosen`/`rejected` 和 `responses`，只用前者",
        "只保留一种写法",
        "has `chosen` and `rejected` as well as `responses`; only the pair is used",
        "keep one of the two",
    )
    one_response = (
        "one_response",
        W,
        "`responses` 只有一个回答，无从比较",
        "至少给出两个回答",
        "`responses` holds a single answer, and there is nothing to compare it with",
        "give two or more",
    )
    bad_score = (
        "bad_score",
        E,
        "`{field}` 应为数值，实为{found_zh}",
        "写成数字，例如 0.9，不加引号",
        "`{field}` must be a number, not {found_en}",
        "write a number such as 0.9, without quotes",
    )
    same_scores = (
        "same_scores",
        W,
        "所有回答的分数都相同，分不出好坏",
        "给出有区别的分数",
        "all answers have the same score, so none is the better one",
        "give scores that differ",
    )
    bad_rank = (
        "bad_rank",
        E,
        "`rank` 应为 1 到 {limit} 的整数，实为 {found}",
        "改成整数，例如 8",
        "`rank` must be a whole number from 1 to {limit}, not {found}",
        "write a whole number such as 8",
    )
    rank_differs = (
        "rank_differs",
        E,
        "`rank` 为 {found}，而第 {first} 行是 {before}；一个文件只能训练一个适配器",
        "统一 `rank`，或按 rank 拆分文件",
        "`rank` is {found}, but {before} on line {first}; one file trains one adapter",
        "use one `rank`, or split the file by it",
    )
    modules_differ = (
        "modules_differ",
        E,
        "`target_modules` 为 {found}，而第 {first} 行是 {before}；一个文件只能训练一个适配器",
        "统一 `target_modules`，或拆分文件",
        "`target_modules` is {found}, but {before} on line {first}; one file trains one adapter",
        "use the same `target_modules`, or split the file by them",
    )

    # The config.
    missing_model = (
        "missing_model",
        E,
        "训练配置没有写模型（`{key}`）",
        "在 YAML 中写明 `{key}`，或在项目的 `base_model`、请求的 `model` 中给出",
        "the training config names no model (`{key}`)",
        "write `{key}` in the YAML, or give the project a `base_model`, or the request a `model`",
    )
    model_unsaid = (
        "model_unsaid",
        W,
        "没有说明训练哪个模型（`{key}`），由启动脚本决定",
        "在项目的 `base_model` 或请求的 `model` 中给出",
        "nothing says which model to train (`{key}`); the start script decides",
        "give the project a `base_model`, or the request a `model`",
    )
    missing_keys = (
        "missing_keys",
        W,
        "训练配置没有写 {keys}，训练程序会用它自己的默认值",
        "若结果要能复现，请写明",
        "the training config leaves out {keys}, so the trainer takes its own defaults",
        "write them down if the result is to be repeatable",
    )
    not_a_number = (
        "not_a_number",
        E,
        "`{key}` 应为数值，实为 {found}",
        "写成不加引号的数字，例如 `{key}: {example}`",
        "`{key}` must be a number, not {found}",
        "write a number without quotes, such as `{key}: {example}`",
    )
    not_whole = (
        "not_whole",
        E,
        "`{key}` 应为整数，实为 {found}",
        "写成整数，例如 `{key}: {example}`",
        "`{key}` must be a whole number, not {found}",
        "write a whole number, such as `{key}: {example}`",
    )
    out_of_range = (
        "out_of_range",
        E,
        "`{key}` 为 {found}，应当{range_zh}",
        "改到范围之内，例如 `{key}: {example}`",
        "`{key}` is {found}; it must be {range_en}",
        "keep it within that, such as `{key}: {example}`",
    )
    not_boolean = (
        "not_boolean",
        E,
        "`{key}` 应为 true 或 false，实为 {found}",
        "写成 `{key}: true` 或 `{key}: false`（YAML 1.2 中 yes、on 只是文本）",
        "`{key}` must be true or false, not {found}",
        "write `{key}: true` or `{key}: false` (in YAML 1.2, yes and on are mere texts)",
    )
    not_a_text = (
        "not_a_text",
        E,
        "`{key}` 应为文本，实为 {found}",
        "写成文本，例如 `{key}: {example}`",
        "`{key}` must be a text, not {found}",
        "write a text, such as `{key}: {example}`",
    )
    not_names = (
        "not_names",
        E,
        "`{key}` 应为名字的列表，实为 {found}",
        "写成 `{key}: [q_proj, v_proj]`",
        "`{key}` must be a list of names, not {found}",
        "write `{key}: [q_proj, v_proj]`",
    )
    unknown_choice = (
        "unknown_choice",
        W,
        "`{key}` 的值 {found} 不是常见的 {known}",
        "请核对拼写；训练程序若认识它，可以忽略",
        "`{key}` is {found}, which is none of the usual {known}",
        "look at the spelling; never mind if your trainer knows it",
    )
    likely_typo = (
        "likely_typo",
        W,
        "键 `{key}` 不认识，是不是想写 `{meant}`？",
        "若是笔误，改成 `{meant}`；训练程序自有的键可以保留",
        "the key `{key}` is unknown; is `{meant}` meant?",
        "write `{meant}` if so; a key of your own trainer may stay",
    )
    bad_url = (
        "bad_url",
        E,
        "`{key}` 不是可用的网址：{found}",
        "写成 `http://主机:端口/路径`，或本地路径、模型名",
        "`{key}` is no usable URL: {found}",
        "write `http://host:port/path`, or a local path, or a model's name",
    )
    path_missing = (
        "path_missing",
        W,
        "`{key}` 指向 {path}，上传的文件和训练目录里都没有",
        "把它放到训练目录下的 {path}；若它只在训练容器里，可以忽略",
        "`{key}` names {path}, which is neither uploaded nor in the training directory",
        "lay it there as {path}; never mind if it is only in the training container",
    )
    batch_mismatch = (
        "batch_mismatch",
        E,
        "`global_batch_size` 为 {whole}，不等于每卡 {each} × 数据并行 {ways}{steps}",
        "改为 {product}，或调整每卡批量、GPU 数",
        "`global_batch_size` is {whole}, which is not {each} per device × {ways} in data parallel{steps}",
        "write {product}, or change the batch per device or the number of GPUs",
    )
    batch_accumulates = (
        "batch_accumulates",
        W,
        "`global_batch_size` 为 {whole}，是每卡 {each} × 数据并行 {ways} 的 {steps} 倍，训练程序须累积 {steps} 步",
        "若非有意，改为 {product}；否则写明 `gradient_accumulation_steps: {steps}`",
        "`global_batch_size` is {whole}, {steps} times {each} per device × {ways} in data parallel: trainers must accumulate {steps} steps",
        "write {product} if that is not meant, else say `gradient_accumulation_steps: {steps}`",
    )

    # The launch.
    not_launchable = (
        "not_launchable",
        E,
        "{reason}",
        "请按提示补齐，再提交",
        "{reason}",
        "mend that, then ask again",
    )
    partly_judged = (
        "partly_judged",
        W,
        "文件太大，只检查了前 {bytes} 字节",
        "上传为数据集即可得到完整报告",
        "the file is so large that only its first {bytes} bytes were judged",
        "upload it as a dataset for a whole report",
    )
    over_long = (
        "over_long",
        W,
        "约 {share} 的样本超过 `{key}` = {limit} 个 token（估算），超出部分会被截断",
        "调大 `{key}`，或拆分长样本（最长的在第 {line} 行）",
        "about {share} of the samples are longer than `{key}` = {limit} tokens (an estimate), and what is beyond is cut off",
        "raise `{key}`, or split the long samples (the longest is on line {line})",
    )
    few_samples = (
        "few_samples",
        W,
        "只有 {samples} 个可用样本，不够一批 {batch} 个",
        "减小批量，或补充数据",
        "there are {samples} usable samples, fewer than the {batch} of one batch",
        "make the batch smaller, or add data",
    )
    marks_override = (
        "marks_override",
        W,
        "样本里的 `{field}` 是 {found}，配置里的 `{key}` 是 {said}；以样本为准",
        "让两者一致",
        "the samples say `{field}` {found}, the config says `{key}` {said}; the samples prevail",
        "make the two agree",
    )
    no_disk = (
        "no_disk",
        W,
        "检查点估计要占 {needed}，训练目录只剩 {free}（{formula}）",
        "腾出空间，或减小 `save_total_limit`",
        "the checkpoints may take {needed}, and the training directory has {free} left ({formula})",
        "free some space, or lower `save_total_limit`",
    )
    no_memory = (
        "no_memory",
        W,
        "每卡显存估计要 {needed}，最大的 GPU 只有 {largest}（{formula}）",
        "减小批量或序列长度，改用 LoRA 或更多 GPU 并切分权重",
        "each GPU may need {needed}, and the largest has {largest} ({formula})",
        "lower the batch or the sequence length, or use LoRA, or shard over more GPUs",
    )
    no_host = (
        "no_host",
        W,
        "目前没有主机能运行它：{reason_zh}",
        "可以提交，任务会排队等到有这样的主机",
        "no host could run it now: {reason_en}",
        "it may be launched, and waits until there is such a host",
    )
