"""The types of personal data that are known here, and what they are called."""

from msgspec import Struct


class Entity(Struct, frozen=True, kw_only=True):
    """One type: its label in each language."""

    zh: str
    en: str
    opt_in: bool = False
    """Sought only by policies that name it: what it finds is a judgement, not a proof."""


ENTITIES: dict[str, Entity] = {
    "CN_MOBILE": Entity(zh="手机号", en="mobile number"),
    "CN_LANDLINE": Entity(zh="座机号", en="landline number"),
    "CN_RESIDENT_ID": Entity(zh="身份证号", en="resident id"),
    "BANK_CARD": Entity(zh="银行卡号", en="bank card"),
    "CN_USCC": Entity(zh="统一社会信用代码", en="unified social credit code"),
    "CN_LICENSE_PLATE": Entity(zh="车牌号", en="license plate"),
    "EMAIL": Entity(zh="邮箱", en="email address"),
    "IPV4": Entity(zh="IPv4地址", en="IPv4 address"),
    "IPV6": Entity(zh="IPv6地址", en="IPv6 address"),
    "MAC": Entity(zh="MAC地址", en="MAC address"),
    "URL_SECRET": Entity(zh="链接中的密钥", en="secret in a URL"),
    "API_KEY": Entity(zh="密钥", en="API key"),
    "JWT": Entity(zh="令牌", en="JWT"),
    "PRIVATE_KEY": Entity(zh="私钥", en="private key"),
    "CN_PASSPORT": Entity(zh="护照号", en="passport"),
    "CN_TRAVEL_PERMIT": Entity(zh="通行证号", en="travel permit"),
    "HMT_ID": Entity(zh="港澳台身份证号", en="Hong Kong, Macau or Taiwan id"),
    "QQ": Entity(zh="QQ号", en="QQ number"),
    "WECHAT": Entity(zh="微信号", en="WeChat id"),
    "DATE_OF_BIRTH": Entity(zh="出生日期", en="date of birth"),
    "PASSWORD": Entity(zh="密码", en="password"),
    "GPS": Entity(zh="坐标", en="coordinates"),
    "IMEI": Entity(zh="设备号", en="IMEI"),
    "VIN": Entity(zh="车架号", en="vehicle identification number"),
    "PERSON": Entity(zh="姓名", en="name", opt_in=True),
    "ADDRESS": Entity(zh="地址", en="address", opt_in=True),
}


def label(type_: str, language: str) -> str:
    """Return what a person calls this type; one of a policy's own is called by its name."""
    entity = ENTITIES.get(type_)
    if entity is None:
        return type_
    return entity.en if language == "en" else entity.zh
