"""A soak: for minutes everything that can die dies, again and again, while people launch short runs; then every promise is checked.

    python -m tests.soak --seconds 600 --seed 7     prints what was done, and the promises P1 to P10 with all that broke them

`plan` says from a seed alone what will happen; `world` is a house of real processes that can be hurt, `monkey` hurts it, `crowd` uses it,
`record` keeps what both saw; afterwards `evidence` collects what is left, and `oracle` judges it.
"""
