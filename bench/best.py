"""The best of short batches: how often a batch is repeated, and which one counts.

A virtual machine shares its cores with others. While these work, the same instructions take up to
three times the CPU time, for a tenth of a second or for minutes, and nothing in the guest tells. So
batches are short and repeated until the least figure has been seen several times.
"""

from __future__ import annotations

from bench.cells import Sample, Settings

#: So many batches have to be as good as the best one.
SEEN = 3
#: A batch whose figure is greater by no more than this share is as good.
AS_GOOD = 0.03


class Best:
    """Collects the samples of batches; the one with the least `value` counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._samples: list[Sample] = []

    def add(self, sample: Sample) -> None:
        """Take the sample of one batch."""
        self._samples.append(sample)

    def wants_more(self) -> bool:
        """Return whether the best batch is not certain yet, and there is patience left."""
        count = len(self._samples)
        if count < self._settings.batches:
            return True
        return count < self._settings.most_batches and not self._is_certain()

    def _is_certain(self) -> bool:
        values = sorted(sample["value"] for sample in self._samples)
        return values[min(SEEN, self._settings.batches) - 1] <= values[0] * (1 + AS_GOOD)

    def least(self, key: str) -> float:
        """Return the least figure of a kind, whichever batch it is of."""
        return min(sample[key] for sample in self._samples)

    @property
    def sample(self) -> Sample:
        """The sample of the best batch."""
        return min(self._samples, key=lambda sample: sample["value"])
