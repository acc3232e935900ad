"""The questions people come with, each a function of the stages before it."""
