"""The hands: on each host they start what the rows want, store what it says, and settle how it ended.

arq lives here and in `infra/queue`, nowhere else.
"""
