"""Names and addresses: what is beside them tells, and words that only begin like a name are none."""

import pytest

from tests.deid import found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("您好，我叫张伟，我的电话", "张伟"),
        ("联系人：欧阳建国，", "欧阳建国"),
        ("姓名：李晓明\n性别：女", "李晓明"),
        ("客户姓名：赵敏，反馈问题", "赵敏"),
        ("王建军先生今年搬家", "王建军"),
        ("陈静的手机号是", "陈静"),
        ("（刘洋 收）", "刘洋"),
        ("据孙丽介绍，该项目", "孙丽"),
        ("收件人阿卜杜拉·买买提，", "阿卜杜拉·买买提"),
        ("| 周婷 | 13812345678 |", "周婷"),
        ('{"name": "吴强", "x": 1}', "吴强"),
        ("Hi, this is Emily Davis. You", "Emily Davis"),
    ],
)
def test_a_name_is_found_by_what_stands_beside_it(text: str, name: str) -> None:
    assert ("PERSON", name) in found(text)


def test_each_name_of_a_list_is_found() -> None:
    assert [("PERSON", each) for each in ("程博英", "贾文涛", "慕容玉")] == found("参会人：程博英、贾文涛、慕容玉\n地点")


@pytest.mark.parametrize(
    "text",
    [
        "周末的时候大家都很高兴",
        "客户高级经理",
        "用户管理界面",
        "姓名：<姓名_1>",
        "联系人：张小泉剪刀",
        "方法和程序都很安全",
        "鲁迅的作品影响深远",
        "负责人：王国维大学",
        "This is New York speaking",
    ],
)
def test_a_word_that_begins_like_a_name_is_none(text: str) -> None:
    assert [] == [each for each in found(text) if each[0] == "PERSON"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("请寄到北京市朝阳区建国路88号5号楼2单元301室，收", "北京市朝阳区建国路88号5号楼2单元301室"),
        ("现居住地址：杭州市西湖区翠湖小区12栋3单元402室\n", "杭州市西湖区翠湖小区12栋3单元402室"),
        ("我在文三路17号A座12层，", "文三路17号A座12层"),
        ("住址：上海市徐汇区漕溪北路1号万科城3栋1203，", "上海市徐汇区漕溪北路1号万科城3栋1203"),
    ],
)
def test_an_address_is_found_whole(text: str, address: str) -> None:
    assert [("ADDRESS", address)] == found(text)


@pytest.mark.parametrize("text", ["浙A组第12号", "地铁1号线", "第3栋", "他走了很远的路10公里"])
def test_what_is_no_address_is_left_alone(text: str) -> None:
    assert [] == found(text)
