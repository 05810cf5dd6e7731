"""Reading the posterior of a trained pair: draws, and all that is derived from them."""
