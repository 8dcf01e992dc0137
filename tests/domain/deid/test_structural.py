"""What shape and checksum find, in every spelling, and what only looks alike."""

import phonenumbers
import pytest

from domain.deid import checks
from tests.deid import READ_OUT, WIDE, card, credit_code, found, resident_id

MOBILE = "13812345678"


@pytest.mark.parametrize(
    "spelling",
    [
        MOBILE,
        "138 1234 5678",
        "138-1234-5678",
        "138.1234.5678",
        "138 12345678",
        "1381234 5678",
        "138 - 1234 - 5678",
        "138\u200b1234\u200b5678",
        "138\u00a01234\u00a05678",
        "138—1234—5678",
        "1 3 8 1 2 3 4 5 6 7 8",
        "+8613812345678",
        "+86 138 1234 5678",
        "+86-13812345678",
        "(+86)13812345678",
        "0086 13812345678",
        "86-13812345678",
        MOBILE.translate(WIDE),
        "138－1234－5678".translate(WIDE),
        MOBILE.translate(READ_OUT),
        "一三八一二三四五六七八",
        "幺三八 一二三四 五六七八",
    ],
)
def test_a_mobile_number_is_found_in_every_spelling(spelling: str) -> None:
    for text in (f"客户手机号 {spelling}", f"请拨打{spelling}，谢谢", f"call {spelling} now", f"（{spelling}）"):
        assert [("CN_MOBILE", spelling)] == found(text), text


@pytest.mark.parametrize(
    "text",
    [
        "订单号：13812345678，已发货",
        "订单编号13812345678、13987654321均已完成",
        '{"order_id": "13812345678"}',
        "tracking 13812345678 left the depot",
        "定价13812345678.25元",
        "损失从0.13812345678下降",
        "2023010113812345678001",
        "a13812345678b",
        "12074419036",
        "SF1381234567890",
        "共138123456789条",
        "数组 1 3 8 1 2 3 4 5 6 7 8 9 0 1",
    ],
)
def test_what_only_looks_like_a_mobile_number_is_left_alone(text: str) -> None:
    assert [] == found(text)


def test_the_nearest_word_decides_what_a_number_is() -> None:
    assert [("CN_MOBILE", MOBILE)] == found(f"订单20230815已发货，联系电话{MOBILE}")
    assert [("CN_MOBILE", MOBILE)] == found(f'{{"order_id": "12345678", "buyer_mobile": "{MOBILE}"}}')
    assert [] == found(f"电话已登记，订单号{MOBILE}")


def test_the_name_of_the_json_field_is_a_word_before_the_value() -> None:
    assert [] == found(MOBILE, key="order_id")
    assert [("CN_MOBILE", MOBILE)] == found(MOBILE, key="buyerMobile")
    assert [("QQ", "123456789")] == found("123456789", key="qq")
    assert [("PASSWORD", "Xk29!pqr")] == found("Xk29!pqr", key="password")
    assert [] == found("123456789", key="id")


def test_the_segments_are_those_that_a_national_number_may_begin_with() -> None:
    """`phonenumbers` is the oracle; the segments of data cards and things (14x, 174) are ours besides."""
    of_things = {"140", "141", "144", "146", "148", "149", "174"}
    for segment in map(str, range(100, 200)):
        number = phonenumbers.parse(f"+86{segment}12345678")
        theirs = phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.MOBILE
        ours = checks.MOBILE.fullmatch(f"{segment}12345678") is not None
        assert ours == (theirs or segment in of_things), segment


@pytest.mark.parametrize(
    "spelling",
    [
        "010-88886666",
        "(010)88886666",
        "（010）88886666",
        "0571 88886666",
        "0755-8888 6666",
        "+86-10-88886666",
        "+86 755 88886666",
        "0311-8888666",
    ],
)
def test_a_landline_is_found_in_every_spelling(spelling: str) -> None:
    assert [("CN_LANDLINE", spelling)] == found(f"公司座机{spelling}，")
    assert [("CN_LANDLINE", f"{spelling}转8001")] == found(f"总机{spelling}转8001。")


@pytest.mark.parametrize(
    "text", ["热线400-820-8820", "0000-88886666", "2023-12345678", "订单0571-88886666", "010-1234567", "A010-88886666"]
)
def test_what_is_no_landline_is_left_alone(text: str) -> None:
    assert [] == found(text)


@pytest.mark.parametrize("born", ["19491231", "20000229", "20121130"])
def test_a_resident_id_is_found_in_every_spelling(born: str) -> None:
    number = resident_id(born)
    with_x = next(each for order in range(99) if (each := resident_id(born, order=f"{order:03}")).endswith("X"))
    for spelling in (
        number,
        with_x.lower(),
        f"{number[:6]} {number[6:14]} {number[14:]}",
        f"{number[:6]}-{number[6:14]}-{number[14:]}",
        number.translate(WIDE),
    ):
        assert [("CN_RESIDENT_ID", spelling)] == found(f"身份证{spelling}，"), spelling
    for region in ("810000", "820000", "830000", "911234"):
        abroad = resident_id(born, region)
        assert [("CN_RESIDENT_ID", abroad)] == found(f"证件{abroad}")


def test_a_resident_id_needs_its_check_character_a_real_date_and_a_province() -> None:
    right = resident_id()
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    assert [] == found(f"身份证{wrong}")
    assert [] == found(f"身份证{resident_id('19901331')}")
    assert [] == found(f"身份证{resident_id('19900229')}")
    assert [] == found(f"身份证{resident_id(region='990101'.replace('99', '77'))}")


def test_the_old_form_needs_a_word() -> None:
    old = "110105900307001"
    assert [("CN_RESIDENT_ID", old)] == found(f"身份证号码{old}")
    assert [("CN_RESIDENT_ID", old)] == found(old, key="id_card")
    assert [] == found(f"流水{old}")


@pytest.mark.parametrize(
    ("start", "length"), [("622202", 19), ("622588", 16), ("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("622908", 18), ("436742", 19)]
)
def test_a_card_is_found_in_every_spelling(start: str, length: int) -> None:
    number = card(start, length, 123)
    in_fours = " ".join(number[at : at + 4] for at in range(0, length, 4))
    for spelling in (number, in_fours, in_fours.replace(" ", "-"), number.translate(WIDE)):
        assert [("BANK_CARD", spelling)] == found(f"银行卡{spelling}。"), spelling


def test_a_card_needs_luhn_an_issuer_and_the_issuers_length() -> None:
    right = card()
    assert [] == found(f"卡号{right[:-1]}{(int(right[-1]) + 1) % 10}")
    assert [] == found(f"编号{card('10', 16)}")
    assert [] == found(f"编号{card('622202', 18)}")
    assert [] == found(f"编号{card('51', 18)}")


def test_a_credit_code_needs_both_its_check_characters() -> None:
    right = credit_code()
    assert [("CN_USCC", right)] == found(f"代码{right}")
    assert [] == found(f"代码{right[:-1]}{'0' if right[-1] != '0' else '1'}")
    # 17 right, 16 wrong: mod 31 alone would let it through.
    first17 = right[:16] + ("0" if right[16] != "0" else "1")
    assert [] == found(f"代码{first17}{checks.credit_code_digit(first17)}")


@pytest.mark.parametrize("plate", ["京A12345", "京A·12345", "粤B•D1234", "沪AD12345", "川A12345D", "京A1234警", "粤Z1234港", "京a12345"])
def test_a_plate_is_found(plate: str) -> None:
    assert [("CN_LICENSE_PLATE", plate)] == found(f"车牌{plate}违停")


@pytest.mark.parametrize("text", ["京A股票", "沪深300", "浙A组第12345名", "川A级景区", "京O12345", "京AABCDE", "京A1234567"])
def test_what_is_no_plate_is_left_alone(text: str) -> None:
    assert [] == found(text)


def test_a_hong_kong_card_needs_its_check_character() -> None:
    assert [("HMT_ID", "A123456(3)")] == found("香港身份证A123456(3)")
    assert [("HMT_ID", "A123456（3）")] == found("号码A123456（3）")
    assert [] == found("号码A123456(4)")


@pytest.mark.parametrize(
    "behind", [" 2024-05-01 转账", " 1000元", " 1000.00 元", f" {MOBILE}", f" {resident_id()}", " 100 笔", "-1", " 4123-3807"]
)
def test_a_card_is_found_whatever_number_follows(behind: str) -> None:
    for number in (card("622202", 16), card()):
        assert ("BANK_CARD", number) in found(f"卡号 {number}{behind}")
        in_fours = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
        assert ("BANK_CARD", in_fours) in found(f"{in_fours}{behind}")


def test_a_longer_number_in_fours_is_no_card() -> None:
    number = card("622202", 16)
    for gap in " -":
        in_fours = gap.join([number[at : at + 4] for at in range(0, 16, 4)])
        assert [] == found(f"编号 {in_fours}{gap}1234")
        assert [] == found(f"编号 {in_fours}{gap}1234{gap}5678")
        assert [("BANK_CARD", in_fours)] * 2 == found(f"卡号 {in_fours} {in_fours}")


@pytest.mark.parametrize("beside", ["2024-05-01", "2024年5月1日", "10:30", resident_id(), card(), "139-1234-5678", "3c:22:fb:1a:2b:3c"])
def test_a_mobile_number_in_groups_is_found_beside_a_date_or_another_number(beside: str) -> None:
    assert ("CN_MOBILE", "138 1234 5678") in found(f"138 1234 5678 {beside}")
    if not beside.endswith(("日", "c")):
        assert ("CN_MOBILE", "138 1234 5678") in found(f"{beside} 138 1234 5678")


@pytest.mark.parametrize("text", ["138 1234 5678 9012", "138-1234-5678-2024", "1001 138 1234 5678", "138 1234 5678 1000 2000"])
def test_a_mobile_number_in_groups_is_left_alone_in_a_list_of_groups(text: str) -> None:
    assert [] == found(text)


def test_a_mobile_number_with_its_countrys_prefix_is_part_of_no_list() -> None:
    assert [("CN_MOBILE", "+86 138 1234 5678"), ("CN_LANDLINE", "0311 8518 7792")] == found("+86 138 1234 5678 0311 8518 7792")
    assert [("CN_MOBILE", "138 1234 5678"), ("CN_LANDLINE", "0311 8518 7792")] == found("138 1234 5678 0311 8518 7792")
