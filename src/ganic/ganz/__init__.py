"""GANZ: compression by searching a generator's latent space, and compressive sensing.

The system of "GANs for Lossy Image Compression" (Smedemark-Margulies, Park and Vann), whole:

    Fig. 1, 6, Sec. 3.1   generator, discriminator, objective (BEGAN), recipe
    Sec. 3.2, Eq. 1       search, adam, lbfgs, budget, picture_loss
    Sec. 3.2, R           random_linear (random_stream, hadamard): any ratio, the same bits everywhere
    Sec. 3.4              wavelets
    Fig. 2-5, 7, 8        figures (experiments, pictures, plots), speed
    Fig. 8                sensing, measurements, fista
    Sec. 5, future work   surfing, joint, and everything below

and beyond it, a codec whose files hold integers:

    reconstruction, basis, encoder     a generator, nested latents and a starting point, trained for this
    direct                             the block transform that generator and encoder start from
    latent_coder, tables, prior_fit    integers and their probabilities
    rd_search, encoding                latents that are good for their bits
    payload, layout, codec             the file
    making, export, model              from a run to a model file
"""
