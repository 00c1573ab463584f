"""Selective compression, measured: what regions cost, whether the synthesised is what its label says, and
what a mask does for a region.

    python -m ganic.evaluation.selective camvid/images camvid/labels --list recipes/street_heldout.txt \\
        --model street --gc street-gc --dplus street-dplus --segmenter street-segmenter
    python -m ganic.evaluation.selective photographs/ --model photo

Bytes are those of whole files, PSNR inside a region is over the pixels of coded blocks, and every random
choice depends on the seed and the scene's position in the list alone.

    scenes.py      pictures with label maps, and what of them is kept: boxes (RB), instances (RI)
    costs.py       bytes against preserved area
    semantics.py   what a segmenter sees in decoded pictures
    gains.py       what spatial allocation does inside and outside a mask, at equal bytes
    __main__.py    their tables
"""
