"""The command `scorestream`: what needs neither Java nor a cluster."""
