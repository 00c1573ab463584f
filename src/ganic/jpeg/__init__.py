"""JPEG files straight from noise: "Toward Joint Image Generation and Compression using Generative Adversarial
Networks" (Kang, Tripathi, Nguyen), and what modern training makes of it.

What is emitted
    tables.py          quantisation tables, Eqs. 1-3; zigzag order
    sampling.py        4:4:4, 4:2:2, 4:2:0
    settings.py        quality and subsampling of each picture of a batch
    coefficients.py    quantised coefficients of three components, as tensors
    transform.py       P: a differentiable JPEG decoder, equal to libjpeg's
    synthesis.py       what every generator can do: paint planes, code them

The paper
    head.py            the three-path head: locally connected layers, chroma subsampling, quantisation
    generator.py       the residual generator of TTUR/WGAN-GP with that head (Fig. 2a)
    discriminator.py   its residual discriminator (Fig. 2b)
    layer_norm.py, init.py   its norm, whose gradient has a gradient; first weights of both
    direct.py          the compared generators of coefficients, convolutional and fully connected
    objective.py       Eq. 5

The same system with 2020s adversarial training: one checkpoint for every setting
    modern_generator.py, modern_discriminator.py, equalised.py, halvings.py, modern_objective.py
    classifier.py, transport.py   what a class looks like, where features should go: both teach the generator

From data to models
    recipe.py          a recipe becomes an objective
    batches.py, datasets.py, cifar10.py, labelled.py   training pictures
    export.py, model.py  a training run as a model file; a model file as a generator

Files
    noise.py           picture i of seed S, whatever the batch
    huffman.py, scan.py, files.py   coefficients -> baseline .jpg files, many at once
    tar.py, folder.py  output that can be gone on with
    generate.py        `ganic generate`

Measuring
    features.py        the CIFAR ResNet-56 trunk for Frechet distances
    evaluate.py, table.py  Table I

Nothing is imported here, so that the file writer costs no torch.
"""
