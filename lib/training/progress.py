"""How far a training is: a bar on a terminal, a line now and then in a log."""

import sys
import time

from tqdm import tqdm

LINE_SECONDS = 15.0


class Progress:
    """Shows epoch, losses, images per second and time left; a silent one shows nothing.

    A log gets a line about every 15 s and after each tenth of the epochs, which ends in the time left and the time that
    all epochs take.
    """

    def __init__(self, label: str, epochs: int, images: int, done: int, silent: bool):
        """images: per epoch; done: images seen before an interruption."""
        self.label, self.epochs, self.total = label, epochs, images * epochs
        self.start, self.done, self.began, self.shown = done, done, time.monotonic(), time.monotonic()
        self.log = not silent and not sys.stderr.isatty()
        self.bar = tqdm(
            *(None, label, self.total),
            initial=done,
            unit=" images",
            unit_scale=True,
            dynamic_ncols=True,
            disable=silent or self.log,
        )

    def update(self, epoch: int, images: int, losses: dict[str, float], epoch_ended: bool) -> None:
        """Count `images` more of an epoch (1-based) whose mean losses so far are `losses`."""
        self.done += images
        text = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self.bar.set_description(f"{self.label}: epoch {epoch}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(images)
        tenth = epoch_ended and epoch * 10 // self.epochs > (epoch - 1) * 10 // self.epochs
        now = time.monotonic()
        if self.log and (tenth or now - self.shown >= LINE_SECONDS):
            rate = (self.done - self.start) / max(now - self.began, 1e-9)
            left, whole = (tqdm.format_interval(images / rate) for images in (self.total - self.done, self.total))
            line = f"{self.label}: epoch {epoch}/{self.epochs}, {text}, {rate:.0f} images/s, {left} of {whole} left"
            print(line, file=sys.stderr, flush=True)
            self.shown = now

    def close(self) -> None:
        """End the bar."""
        self.bar.close()
