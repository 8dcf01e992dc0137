"""De-identification: what personal data looks like in Chinese and English text, and what is put in its place.

    text         folding: one spelling for the eyes of the rules, offsets that never move
    checks       checksums, dates, number plans: what makes a number somebody's number
    entities     the types, and what they are called
    words        hot words and vetoes: what stands beside a number, or is the name of its JSON field
    structural   detectors whose shape and checksum suffice
    contextual   detectors that need a word beside the value
    people       names and addresses: opt-in, by rules; another detector can take their place
    find         detectors over text: every span, overlaps resolved
    surrogates   values that nobody bears and no detector takes for real
    operators    what replaces a value
    policy       which types are sought, and which operator meets each
    clean        texts in, texts and spans out
    lines        the same over JSON lines

This room stands alone: the standard library and msgspec, no other room of ours, no I/O. A fast scanner and ciphers come in by ports.
Every pattern is linear in the text: bounded quantifiers, boundaries at both ends, no class repeated beside itself.
"""
