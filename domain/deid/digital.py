"""Detectors of what machines are called by and let in with: mail and network addresses, keys, tokens, secrets in URLs."""

import re
from collections import Counter
from ipaddress import AddressValueError, IPv6Address, IPv6Network
from math import log2

from domain.deid import words
from domain.deid.rule import CHECKED, SHAPED, SPOKEN, Anchor, Around, Found, Rule, value_of

_PLACEHOLDER = re.compile(
    r"redacted|example|placeholder|your[-_]|[-_]here|<|>|\*\*|\.\.\.|\$\{|\{\{|(.)\1{5}|(?:x{4}|0{6}|1234567|abcdefg|changeme|dummy|sample|test_?key|fake)",
    re.IGNORECASE,
)


def is_placeholder(value: str) -> bool:
    """Whether a secret is none: what documentation writes in its place, or what we did."""
    return bool(_PLACEHOLDER.search(value))


def entropy(value: str) -> float:
    """Return the bits that each character of a value tells, by the value's own letters."""
    return -sum(count / len(value) * log2(count / len(value)) for count in Counter(value).values())


_OURS = re.compile(r"example\.(?:com|org|net)$", re.IGNORECASE)
_DOTTED = re.compile(r"\s?[\[({]\s?(?:dot|点)\s?[\])}]\s?|\s+dot\s+", re.IGNORECASE)
_FILE = re.compile(r"png|jpe?g|gif|svg|webp|py|js|ts|css|html|json|md|txt|pdf|zip|gz|tar|whl|exe|dll|so|conf|ya?ml|log|sh", re.IGNORECASE)


def _email(match: re.Match[str], around: Around) -> Found | None:
    domain = _DOTTED.sub(".", match["d"])
    start, end = match.span()
    before = around.before(start)
    if _OURS.search(domain) or _FILE.fullmatch(domain.rpartition(".")[2]):
        return None
    if re.search(r"://[^\s/@\"']{0,40}$", before) or (match["u"] == "git" and around.after(end)[:1] == ":"):
        return None  # the password and host of a URL; a repository's address
    return Found(start, end, CHECKED, 0.99)


_FOR_DOCUMENTATION = frozenset({(192, 0, 2), (198, 51, 100), (203, 0, 113)})
"""RFC 5737; our own surrogates come from there."""
MULTICAST = 224
_DOCUMENTATION = IPv6Network("2001:db8::/32")


def _ipv4(match: re.Match[str], around: Around) -> Found | None:
    parts = match[0].split(".")
    numbers = tuple(map(int, parts))
    if max(numbers) > 255 or any(len(part) > 1 and part[0] == "0" for part in parts) or _is_nobodys(numbers):  # noqa: PLR2004 - one byte
        return None
    start, end = match.span()
    after = around.after(end)
    said = words.address_beside(around.before(start), after)
    if said == words.VETOED or (numbers[3] == 0 and after[:1] == "/"):  # a network is nobody's
        return None
    if said == words.SILENT and numbers[0] < 10:  # noqa: PLR2004 - few hosts have such an address, and most versions do
        return None
    telling = said == words.TELLING or numbers[0] == 10 or numbers[:2] == (192, 168)  # noqa: PLR2004 - private networks
    return Found(start, end, SPOKEN if telling else SHAPED, 0.95 if telling else 0.75)


def _is_nobodys(numbers: tuple[int, ...]) -> bool:
    """Whether an IPv4 address is loopback, a mask, multicast or for documentation."""
    return numbers[0] in {0, 127} or numbers[0] >= MULTICAST or numbers[:3] in _FOR_DOCUMENTATION


def _ipv6(match: re.Match[str], around: Around) -> Found | None:
    try:
        address = IPv6Address(match[0])
    except AddressValueError:
        return None
    if address.is_loopback or address.is_unspecified or address.is_multicast or address in _DOCUMENTATION:
        return None
    if address.ipv4_mapped and _is_nobodys(tuple(address.ipv4_mapped.packed)):
        return None
    if match[0].endswith("::") and around.after(match.end())[:1] == "/":  # a network
        return None
    groups = [each for each in match[0].split(":") if each]
    routed = address.is_global or address.is_private or address.is_link_local
    if len(groups) < 3 and not (address.ipv4_mapped or (routed and len(groups[0]) == 4 and any(each.isdigit() for each in match[0]))):  # noqa: PLR2004
        return None
    return Found(*match.span(), CHECKED, 0.97)


def _mac(match: re.Match[str], _: Around) -> Found | None:
    value = re.sub(r"[^0-9a-f]", "", match[0].lower())
    if value.startswith("00005e0053") or len(set(value)) == 1:
        return None  # the range for documentation, and what is no device: all zeros, broadcast
    return Found(*match.span(), CHECKED, 0.97)


def _named_mac(match: re.Match[str], _: Around) -> Found | None:
    return None if match["v"].lower().startswith("00005e0053") else Found(*match.span("v"), SPOKEN, 0.9)


def _secret(match: re.Match[str], _: Around) -> Found | None:
    return None if is_placeholder(match[match.lastgroup or 0]) else Found(*value_of(match), CHECKED, 0.97)


def _pem(match: re.Match[str], _: Around) -> Found | None:
    left_out = re.search(r"REDACTED|\.\.\.|[xX*]{6}", match[0])
    return None if left_out else Found(*match.span(), CHECKED, 0.99)


def _key(match: re.Match[str], _: Around) -> Found | None:
    return None if is_placeholder(match[0]) or entropy(match[0]) < 3 else Found(*match.span(), CHECKED, 0.98)  # noqa: PLR2004 - bits


def _named_key(match: re.Match[str], _: Around) -> Found | None:
    value = match["v"]
    if is_placeholder(value) or entropy(value) < 3 or not re.search(r"[0-9]", value):  # noqa: PLR2004 - bits
        return None
    if re.fullmatch(r"[a-z]+(?:[._][a-z0-9]+)+", value):
        return None  # a path through code
    return Found(*match.span("v"), SPOKEN, 0.85)


_PEM = r"(?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?"
_K = r"(?<![0-9A-Za-z])"
_API_KEYS = r"sk-(?:proj-|ant-|svcacct-|or-v1-)?[0-9A-Za-z_-]{20,200}|[sr]k_(?:live|test)_[0-9A-Za-z]{16,100}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])|AKID[0-9A-Za-z]{32}(?![0-9A-Za-z])|LTAI[0-9A-Za-z]{12,26}(?![0-9A-Za-z])|gh[opsur]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}|gl(?:pat|dt|ptt|rt|cbt|soat)-[0-9A-Za-z_-]{20,64}|xox[abeoprs]-[0-9A-Za-z-]{10,200}|AIza[0-9A-Za-z_-]{35}|hf_[0-9A-Za-z]{30,64}|npm_[0-9A-Za-z]{36}|pypi-[0-9A-Za-z_-]{50,200}|dop_v1_[0-9a-f]{64}|SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}|ya29\.[0-9A-Za-z_-]{20,200}|nvapi-[0-9A-Za-z_-]{40,100}|gsk_[0-9A-Za-z]{40,64}"
_NAMES = (
    r"(?:api|access|secret|private|client|auth|app|encryption|signing|session|service|webhook)[-_ ]?(?:access[-_ ]?)?(?:key|token|secret)"
    r"|(?:secret|token|credentials?|passkey|signature)|密钥|秘钥|令牌"
)
_PARAMETERS = (
    r"access_token|refresh_token|id_token|auth_token|token|sig|signature|x-amz-signature|x-oss-signature|ossaccesskeyid|password|passwd|pwd|pass|secret"
    r"|client_secret|app_secret|appsecret|api_?key|apikey|access_?key|key|auth|authorization|sessionid|session|ticket|code|sign"
)

DIGITAL: tuple[Rule, ...] = (
    Rule(
        id="email",
        type="EMAIL",
        pattern=re.compile(
            r"(?<![0-9A-Za-z._%+-])(?P<u>[0-9A-Za-z_][0-9A-Za-z._%+-]{0,63})"
            r"(?:@|\s?[\[({]\s?(?:at|AT|艾特|@)\s?[\])}]\s?| @ (?=[0-9A-Za-z-]{1,38}\.)| (?:at|AT) (?=[0-9A-Za-z-]{1,63}(?: (?:dot|DOT) |\s?[\[({]\s?dot)))"
            r"(?P<d>(?:[0-9A-Za-z](?:[0-9A-Za-z-]{0,38})(?:\.|\s?[\[({]\s?(?:dot|DOT|点)\s?[\])}]\s?| (?:dot|DOT) )){1,6}[A-Za-z]{2,24})(?![0-9A-Za-z_-])(?!\.[0-9A-Za-z])"
        ),
        judge=_email,
        reach=300,
        anchors=(
            Anchor(rb"[0-9A-Za-z._%+-](?:@|\xef\xbc\xa0| @ )[0-9A-Za-z]", 70),
            Anchor(
                rb"[0-9A-Za-z]\s?(?:[\[({]|\xef\xbc\x88)\s?(?:at|\xe8\x89\xbe\xe7\x89\xb9|@)\s?(?:[\])}]|\xef\xbc\x89)\s?[0-9a-z]",
                84,
                caseless=True,
            ),
            Anchor(rb" at [0-9a-z-]{1,63} ?[\[({]? ?dot", 150, caseless=True),
        ),
    ),
    Rule(
        id="ipv4",
        type="IPV4",
        pattern=re.compile(r"(?<![0-9A-Za-z.])(?<![0-9A-Za-z][-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z])(?!\.[0-9])(?!-[A-Za-z])"),
        judge=_ipv4,
        anchors=(Anchor(rb"[^0-9A-Za-z.][0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", 14),),
    ),
    Rule(
        id="ipv6",
        type="IPV6",
        pattern=re.compile(
            r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7}|::[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,6})"
            r"(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?:\.[0-9]{1,3}){3})?(?![0-9A-Za-z:])(?!\.[0-9])"
        ),
        judge=_ipv6,
        reach=80,
        anchors=(
            Anchor(rb"[0-9a-f]{4}:[0-9a-f]{1,4}:[0-9a-f:]", 48, caseless=True),
            Anchor(rb"[^0-9A-Za-z:]::[0-9a-f]", 8, caseless=True),
            Anchor(rb"[^0-9A-Za-z:][0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,2}::[0-9a-f]", 22, caseless=True),
            Anchor(rb"[^0-9A-Za-z:][0-9a-f]{1,4}(?::[0-9a-f]{1,4}){3}", 48, caseless=True),
        ),
    ),
    Rule(
        id="mac",
        type="MAC",
        pattern=re.compile(
            r"(?<![0-9A-Za-z])(?<![0-9A-Fa-f][:-])(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5}"
            r"|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?![0-9A-Za-z])(?![:-][0-9A-Fa-f]{2})(?!\.[0-9A-Fa-f])"
        ),
        judge=_mac,
        anchors=(
            Anchor(rb"[0-9a-f]{2}([:-])[0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}", 20, caseless=True),
            Anchor(rb"[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}", 20, caseless=True),
        ),
    ),
    Rule(
        id="mac_named",
        type="MAC",
        pattern=re.compile(
            r"(?<![A-Za-z])mac(?:[\s_-]?addr(?:ess)?|地址)?[^0-9A-Za-z\n\0<>]{1,6}(?P<v>[0-9a-f]{12})(?![0-9A-Za-z])", re.IGNORECASE
        ),
        judge=_named_mac,
        anchors=(Anchor(rb"mac(?:[ _-]?addr(?:ess)?|\xe5\x9c\xb0\xe5\x9d\x80)?[^0-9A-Za-z\n\x00<>]{1,18}[0-9a-f]{12}", 48, caseless=True),),
        spoken=True,
    ),
    Rule(
        id="url_userinfo",
        type="URL_SECRET",
        pattern=re.compile(
            r"(?<![0-9A-Za-z+.-])[A-Za-z][0-9A-Za-z+.-]{1,20}://[^\s/?#@:\"'<>\0\ufffc]{0,64}:(?P<v>[!$%&*+,.0-9:;=A-Z^_`a-z{|}~-]{1,256})@(?=[0-9A-Za-z\[])"
        ),
        judge=_secret,
        reach=400,
        anchors=(Anchor(rb"://[^\s/?#@:\x00]{0,64}:[^\s/?#@\x00]{1,256}@", 360),),
    ),
    Rule(
        id="url_parameter",
        type="URL_SECRET",
        pattern=re.compile(rf"(?<=[?&;])(?:{_PARAMETERS})=(?P<v>[!$%*+,./0-9:;=?@A-Z^_`a-z{{|}}~-]{{6,512}})", re.IGNORECASE),
        judge=_secret,
        reach=640,
        anchors=(Anchor(rb"[?&;](?:" + _PARAMETERS.encode() + rb")=", 24, caseless=True),),
    ),
    Rule(
        id="private_key",
        type="PRIVATE_KEY",
        pattern=re.compile(rf"-----BEGIN {_PEM}-----[^-\0]{{16,16000}}-----END {_PEM}-----"),
        judge=_pem,
        reach=16_200,
        anchors=(Anchor(rb"-----BEGIN [A-Z ]{0,12}PRIVATE KEY", 40),),
    ),
    Rule(
        id="jwt",
        type="JWT",
        pattern=re.compile(
            r"(?<![0-9A-Za-z_-])eyJ[0-9A-Za-z_-]{10,2000}\.eyJ[0-9A-Za-z_-]{4,4000}\.[0-9A-Za-z_-]{16,1000}(?![0-9A-Za-z_-])"
        ),
        judge=_secret,
        reach=7_200,
        anchors=(Anchor(rb"[^0-9A-Za-z_-]eyJ[0-9A-Za-z_-]{10}", 16),),
    ),
    Rule(
        id="api_key",
        type="API_KEY",
        pattern=re.compile(rf"{_K}(?<![0-9A-Za-z][-_])(?:{_API_KEYS})"),
        judge=_key,
        reach=300,
        anchors=(
            Anchor(
                rb"[^0-9A-Za-z](?:sk-[0-9A-Za-z_-]{16}|[sr]k_(?:live|test)_|AKIA[0-9A-Z]{4}|ASIA[0-9A-Z]{4}|ABIA[0-9A-Z]{4}|ACCA[0-9A-Z]{4}|AKID[0-9A-Za-z]{8}"
                rb"|LTAI[0-9A-Za-z]{8}|gh[opsur]_[0-9A-Za-z]{8}|github_pat_|gl(?:pat|dt|ptt|rt|cbt|soat)-|xox[abeoprs]-|AIza[0-9A-Za-z_-]{8}"
                rb"|hf_[0-9A-Za-z]{8}|npm_[0-9A-Za-z]{8}|pypi-[0-9A-Za-z_-]{16}|dop_v1_|SG\.[0-9A-Za-z_-]{8}|ya29\.|nvapi-|gsk_[0-9A-Za-z]{8})",
                24,
            ),
        ),
    ),
    Rule(
        id="named_key",
        type="API_KEY",
        pattern=re.compile(
            rf"(?:{_NAMES})[0-9A-Za-z_]{{0,12}}[\"'`\]]{{0,2}}\s{{0,4}}(?:=>|:=|=|:|：|为|是){{1,2}}\s{{0,4}}[\"'`]{{0,2}}(?:Bearer )?"
            r"(?P<v>[0-9A-Za-z/+_.=~-]{16,200})(?![0-9A-Za-z(\[])",
            re.IGNORECASE,
        ),
        judge=_named_key,
        reach=300,
        anchors=(
            Anchor(
                rb"(?:key|token|secret|credentials?|passkey|signature|\xe5\xaf\x86\xe9\x92\xa5|\xe7\xa7\x98\xe9\x92\xa5|\xe4\xbb\xa4\xe7\x89\x8c)"
                rb"[0-9A-Za-z_]{0,12}[\"'`\]]{0,2}\s{0,4}(?:=>|:=|=|:|\xef\xbc\x9a|\xef\xbc\x9d|\xe4\xb8\xba|\xe6\x98\xaf){1,2}\s{0,4}[\"'`]{0,2}(?:bearer )?[0-9A-Za-z/+_.=~-]{16}",
                120,
                caseless=True,
            ),
        ),
        spoken=True,
    ),
)
