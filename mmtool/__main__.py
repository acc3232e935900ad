"""`mmtool`, and `python -m mmtool`."""

import gc
from signal import SIG_DFL, SIGINT, default_int_handler, getsignal, signal


def main() -> None:
    """Entry point: Ctrl-C ends the program quietly from its first moment on."""
    # While modules are imported there is nothing to clean up. Who has it ignored, as nohup does, wants it so.
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, SIG_DFL)
    # Hardly any garbage is in circles here, and each search for some goes through all that the modules have defined.
    gc.set_threshold(100_000, 20, 20)
    from mmtool.cli import main

    try:
        main()
    finally:
        # Else the interpreter searches all that there is for garbage, several times, before it gives it back at once.
        gc.freeze()


if __name__ == "__main__":
    main()
