"""What a word beside it makes personal."""

import pytest

from tests.deid import found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("QQ：4927459148，备注", ("QQ", "4927459148")),
        ("加我扣扣 12345678", ("QQ", "12345678")),
        ('{"qq": "12345678"}', ("QQ", "12345678")),
        ("加V：hello_world1，", ("WECHAT", "hello_world1")),
        ("我的微信号是zhang-1990你加我", ("WECHAT", "zhang-1990")),
        ("vx abc12345", ("WECHAT", "abc12345")),
        ("wxid_0bkpyb08h3qubr", ("WECHAT", "wxid_0bkpyb08h3qubr")),
        ("护照号码E12345678", ("CN_PASSPORT", "E12345678")),
        ("passport no. EA1234567", ("CN_PASSPORT", "EA1234567")),
        ("港澳通行证：C12345678；", ("CN_TRAVEL_PERMIT", "C12345678")),
        ("回乡证H1234567890。", ("CN_TRAVEL_PERMIT", "H1234567890")),
        ("台胞证号12345678，", ("CN_TRAVEL_PERMIT", "12345678")),
        ("台湾身份证A123456789", ("HMT_ID", "A123456789")),
        ("出生日期：1990年5月3日", ("DATE_OF_BIRTH", "1990年5月3日")),
        ("生日1990-05-03，", ("DATE_OF_BIRTH", "1990-05-03")),
        ("1990.5.3出生", ("DATE_OF_BIRTH", "1990.5.3")),
        ("born on March 5, 1990 in", ("DATE_OF_BIRTH", "March 5, 1990")),
        ("出生年月：1990年5月", ("DATE_OF_BIRTH", "1990年5月")),
        ("root密码：Xk29!pqr，登录后", ("PASSWORD", "Xk29!pqr")),
        ("password = 'hunter2!'", ("PASSWORD", "hunter2!")),
        ("mysql -uroot -pAbc12345 db", ("PASSWORD", "Abc12345")),
        ("坐标116.397128,39.916527，", ("GPS", "116.397128,39.916527")),
        ("北纬39.9042°，东经116.4074°", ("GPS", "北纬39.9042°，东经116.4074°")),
        ("39°54′15″N 116°23′29″E", ("GPS", "39°54′15″N 116°23′29″E")),
        ('{"lat": 39.9042}', ("GPS", "39.9042")),
        ("IMEI：490154203237518", ("IMEI", "490154203237518")),
        ("VIN 1M8GDM9AXKP042788", ("VIN", "1M8GDM9AXKP042788")),
    ],
)
def test_a_value_with_its_word_is_found(text: str, value: tuple[str, str]) -> None:
    assert [value] == found(text)


@pytest.mark.parametrize(
    "text",
    [
        "产品型号E12345678，批号C12345678",
        "微信支付接口wechat_pay_v3",
        "QQ音乐2023年会员",
        "请输入密码",
        "password: string",
        "密码必须包含8位以上",
        "password = os.environ['DB_PASSWORD']",
        "密码：********",
        "密码：<密码_1>",
        "入职日期2016-05-03",
        "bbox: [0.1234, 1.5678]",
        "库存12345678册",
        "生日1900-05-03",
        "台湾身份证A123456788",
    ],
)
def test_without_it_nothing_is_found(text: str) -> None:
    assert [] == found(text)
