"""Training, the same for every system of the package.

    objective.py    what a paper's system hands to the loop: networks, players, losses
    loop.py         the loop itself: read this one first
    run_state.py    what a run has in memory, and its way to disk and back
    recipes.py      TOML files, validated; the exact run that made a model
    schedule.py     the learning rate at a step
    muon.py         an optimiser beside torch's
    ema.py          the moving average of the weights
    checkpoint.py   everything a run needs to go on, as safetensors and JSON
    distributed.py  several processes, one run
    sources.py      where pictures lie: folders, WebDataset shards
    store.py        decoded pictures in memory, within a budget
    data.py         batches: which pictures, which crops, deterministically
    augment.py      crops, scales, flips, colours
    data_hash.py    is this picture (nearly) that one?
    packing.py      a folder of pictures as shards below a size limit
    run_log.py      metrics.jsonl, sample pictures, the progress bar
    adversarial.py  the losses GANs are trained with, one function each

Nothing is imported here, so that reading a recipe costs no torch.
"""
