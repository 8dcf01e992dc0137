"""Names and addresses, by rules."""

from domain.deid.rule import Rule

PEOPLE: tuple[Rule, ...] = ()
