"""Addresses of machines, keys and secrets: found where they are real, left alone where they are documentation."""

import pytest

from tests.deid import found


@pytest.mark.parametrize(
    "address",
    [
        "zhang.san@qq.com",
        "a+b@mail.tsinghua.edu.cn",
        "LI@163.COM",
        "li＠126.com",
        "li[at]gmail.com",
        "li at gmail dot com",
        "li (at) gmail.com",
    ],
)
def test_a_mail_address_is_found(address: str) -> None:
    assert [("EMAIL", address)] == found(f"邮箱{address}，")


@pytest.mark.parametrize(
    "text",
    ["user1@example.com", "@app.get", "lodash@4.17.21", "@types/node@18.0.0", "user@", "A@B", "git@github.com:org/repo.git", "logo@2x.png"],
)
def test_what_is_nobodys_mail_address_is_left_alone(text: str) -> None:
    assert [] == found(f"见 {text}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("服务器10.2.3.4宕机", "10.2.3.4"),
        ("login from 47.1.2.3 port 22", "47.1.2.3"),
        ("upstream=121.5.6.7:8080", "121.5.6.7"),
        ("访问来源 39.1.2.3，", "39.1.2.3"),
        ("39.1.2.3 - - [GET /]", "39.1.2.3"),
    ],
)
def test_an_ipv4_address_is_found(text: str, address: str) -> None:
    assert [("IPV4", address)] == found(text)


@pytest.mark.parametrize(
    "text",
    [
        "软件版本号1.2.3.4，构建",
        "Upgrade from 1.2.3.4 to 1.2.3.5 fixed it",
        "Chrome/114.0.5735.198 Safari",
        "固件 2.1.0.7",
        "从1.2.3.4升级到1.2.4.0",
        "v1.2.3.4",
        "numpy==1.2.3.4",
        "127.0.0.1",
        "掩码255.255.255.0",
        "192.0.2.7",
        "1.2.3.4.5",
        "256.1.1.1",
        "第1.2.3.4节",
        "1.2.3.4 版本",
    ],
)
def test_what_is_no_address_is_left_alone(text: str) -> None:
    assert [] == found(text)


@pytest.mark.parametrize("address", ["2408:8a1e:1:2:3:4:5:6", "240e:3a:1::5", "::ffff:47.1.2.3", "fe80::1:2:3:4"])
def test_an_ipv6_address_is_found(address: str) -> None:
    assert [("IPV6", address)] == found(f"IPv6：{address}。")
    assert [("IPV6", address)] == found(f"inet6 {address}/64")


@pytest.mark.parametrize("text", ["12:34:56", "std::vector::size_type", "fe::dead::beef_t", "a::b::c", "::1", "2001:db8::7", "比分 3:2:1"])
def test_what_is_no_ipv6_address_is_left_alone(text: str) -> None:
    assert [] == found(text)


@pytest.mark.parametrize("address", ["3c:22:fb:1a:2b:3c", "3C-22-FB-1A-2B-3C", "3c22.fb1a.2b3c"])
def test_a_mac_address_is_found(address: str) -> None:
    assert [("MAC", address)] == found(f"MAC地址{address}，")
    assert [] == found("指纹 " + ":".join(["3c"] * 16))
    assert [] == found("00-00-5E-00-53-17")


def test_only_the_secret_of_a_url_is_found() -> None:
    assert [("URL_SECRET", "p4ssW0rd9")] == found("DATABASE_URL=postgres://app:p4ssW0rd9@db.corp.cn:5432/x")
    assert [("URL_SECRET", "k3J9sd8fQ2mZ")] == found("https://oss.corp.cn/a?id=3&Signature=k3J9sd8fQ2mZ&x=1")
    assert [] == found("https://github.com/pytorch/pytorch/issues/1234?page=2")


KEYS = {
    "openai": "sk-" + "a1B2c3D4e5F6g7H8i9J0" * 2,
    "aws": "AKIA" + "Q3EGRT5W2YUI7OPS",
    "aliyun": "LTAI5t" + "a9B8c7D6e5F4g3H2i1",
    "github": "ghp_" + "a9B8c7D6e5F4g3H2i1J0" + "k1L2m3N4o5P6q7R8",
    "hugging face": "hf_" + "aQcDxFgHiJkLmNoPqRsTuVwXyZ18345278",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_an_api_key_is_found(key: str) -> None:
    assert [("API_KEY", key)] == found(f"我的key是{key}帮我看看")


@pytest.mark.parametrize(
    "text",
    [
        "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAXXXXXXXXXXXXXXXX",
        "api_key = YOUR_API_KEY_GOES_HERE",
        "token: ${OPENAI_API_KEY}",
        "sk-REDACTED-0123456789ab",
    ],
)
def test_a_placeholder_is_no_key(text: str) -> None:
    assert [] == found(text)


def test_a_key_is_known_by_its_name_and_its_entropy() -> None:
    assert [("API_KEY", "9f86d081884c7d659a2feaa0c55ad015")] == found("SECRET_KEY = '9f86d081884c7d659a2feaa0c55ad015'")
    assert [] == found("md5 9f86d081884c7d659a2feaa0c55ad015")
    assert [] == found("token: aaaaaaaaaaaaaaaaaaaaaaaa")


def test_tokens_and_private_keys_are_found_whole() -> None:
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1rwW1gFWFOEjXk"
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAq3\nx9\n-----END RSA PRIVATE KEY-----"
    assert [("JWT", jwt)] == found(f"Authorization: Bearer {jwt}")
    assert [("PRIVATE_KEY", pem)] == found(f"密钥如下：\n{pem}\n")
