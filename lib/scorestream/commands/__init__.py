"""The command `scorestream`: what needs no cluster."""
