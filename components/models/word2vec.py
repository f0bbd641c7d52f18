"""word2vec (Mikolov et al. 2013): vectors of words, learnt from which words stand near each other."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec


class Word2Vec(StepConfig):
    """Skip-gram or continuous bag of words, with negative samples that a batch shares."""

    serves: ClassVar[tuple[str, ...]] = ("word-embedding",)

    kind: Literal["word2vec"] = "word2vec"
    way: Literal["skip-gram", "cbow"] = Field(
        "skip-gram", description="skip-gram: a word tells its neighbours; cbow: the neighbours' mean tells the word"
    )
    window: int = Field(5, ge=1, description="words on each side that are neighbours")
    negatives: int = Field(5, ge=1, description="by how many words that are none each neighbour is weighed up")
    shared: int = Field(64, ge=1, description="how many words are drawn for that, for all rows of a batch")
    frequent: float = Field(
        1e-3, gt=0, le=1, description="words with a larger share of all are skipped at times, in training"
    )

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from one text, int64[batch, words], to its mean vector and its loss.

        Raises:
            ConfigError: E_CONFIG, there is no text.
        """
        from components.models.sequences import single_text
        from components.models.words import NearWords, check_words

        text = single_text(inputs, self.kind)
        check_words(text)
        return NearWords(
            text.name,
            text.classes[0],
            outputs[0].shape[0],
            around=self.way == "cbow",
            window=self.window,
            negatives=self.negatives,
            shared=self.shared,
            frequent=self.frequent,
        )
