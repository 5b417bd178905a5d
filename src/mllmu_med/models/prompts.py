"""From question and answer to tokens, by the model's own chat template.

A prompt is cut in two behind the image, or the last of several: the *prefix* (system text, image tokens), which all
questions about one image share, and the *branch* (question, answer). The cut is exact because image tokens are special
tokens, and tokenizers never merge across those.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mllmu_med.errors import DataError

QUESTION_MARK = "\u2e2e\u2e2eQUESTION\u2e2e\u2e2e"  # stands for the question while the template is rendered once


class PromptFormat:
    """Tokens of prompts and answers for one tokenizer and one chat template.

    Args:
        tokenizer: a fast tokenizer.
        image_token: the placeholder the template writes for an image, e.g. ``<image>``.
        chat_template: overrides the tokenizer's own (processors keep theirs in a file of their own).
        name: the model's name or folder, for error messages.

    Attributes:
        image_token_id: the token that stands for a part of an image in the model's input.
        placeholder_id: what the template writes for a whole image; mostly the same token.
    """

    def __init__(self, tokenizer: Any, image_token: str, chat_template: str | None, name: str) -> None:
        self.tokenizer, self.image_token = tokenizer, image_token
        self.placeholder_id: int = tokenizer.convert_tokens_to_ids(image_token)
        self.image_token_id, self._trail = self.placeholder_id, ""
        if image_token == getattr(tokenizer, "boi_token", None):
            # Gemma 3: templates write the token that begins an image; its processor puts the image's tokens, an end
            # token and an empty line behind it.
            self.image_token_id, self._trail = tokenizer.convert_tokens_to_ids(tokenizer.image_token), "\n\n"
        if chat_template is None and tokenizer.chat_template is None:
            raise DataError(
                "the model has no chat template", file=name, mend="Put a chat_template.jinja beside its tokenizer.json."
            )
        self._template, self._name = chat_template, name
        self._rendered = {images: self._render(images) for images in (0, 1)}
        end = tokenizer.eos_token_id
        if end is None:
            raise DataError("the tokenizer has no end token", file=name, mend="Set eos_token in tokenizer_config.json.")
        self.end_token_id: int = end
        # Role markers such as <|im_start|> are special in the vocabulary without being named in the tokenizer's config.
        added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        control = {*tokenizer.all_special_tokens, *added, image_token}
        self._control = sorted((t for t in control if t.strip()), key=len, reverse=True)
        self.branch_tokens = lru_cache(maxsize=None)(self._branch_tokens)
        self.answer_tokens = lru_cache(maxsize=None)(self._answer_tokens)

    def _render(self, images: int) -> tuple[str, str]:
        content = [{"type": "image"}] * images + [{"type": "text", "text": QUESTION_MARK}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
        )
        if text.count(QUESTION_MARK) != 1 or text.count(self.image_token) != images:
            raise DataError(
                f"its chat template does not render {_count(images)} ({self.image_token}) and one question",
                file=self._name,
                mend="Use a template that takes typed content ({'type': 'image'}, {'type': 'text'}).",
            )
        before, after = text.split(QUESTION_MARK)
        return before, after

    def _plain(self, text: str) -> str:
        """The text with control tokens broken up, so that data can never speak as the chat template does."""
        for token in self._control:
            text = text.replace(token, token[0] + " " + token[1:])
        return text

    def text(self, question: str, images: int) -> str:
        """The whole prompt as text, with a placeholder for each image (True is one, False none)."""
        if images not in self._rendered:
            self._rendered[images] = self._render(images)
        before, after = self._rendered[images]
        return before + self._plain(question) + after

    def tokens(self, text: str) -> list[int]:
        """Token ids; a begin token is added unless the template already wrote it."""
        begin = self.tokenizer.bos_token
        special = not (begin and begin in text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids[:-1] if special and len(ids) > 1 and ids[-1] == self.end_token_id else ids

    def around_images(self, question: str, images: int) -> list[list[int]]:
        """Token ids of the whole prompt, cut at its placeholders: one piece more than there are images."""
        text = self.text(question, images)
        if self._trail:
            text = text.replace(self.image_token, self.image_token + self._trail)
        pieces: list[list[int]] = [[]]
        for token in self.tokens(text):
            if images and token == self.placeholder_id:
                pieces.append([])
            else:
                pieces[-1].append(token)
        return pieces

    def _branch_tokens(self, question: str, with_image: bool) -> tuple[int, ...]:
        """Tokens of the prompt behind the prefix."""
        if with_image:
            return tuple(self.around_images(question, 1)[-1])
        return tuple(self.tokens(self.text(question, 0))[len(self.text_prefix()) :])

    @lru_cache(maxsize=1)  # noqa: B019  one instance lives as long as its model
    def text_prefix(self) -> tuple[int, ...]:
        """The tokens that all prompts without an image begin with (at least one, so that a row has a prefix)."""
        samples = [self.tokens(self.text(q, 0)) for q in ("What is this?", "7 days ago", "Is it?", "质问", "(a)")]
        length = 0
        while all(len(s) > length + 1 and s[length] == samples[0][length] for s in samples):
            length += 1
        before, _ = self._rendered[0]
        # Never reach into the question: what the text before it alone gives is the longest prefix that can be shared.
        alone = self.tokens(before) if before else []
        while length and samples[0][:length] != alone[:length]:
            length -= 1
        return tuple(samples[0][:length])

    def _answer_tokens(self, answer: str) -> tuple[int, ...]:
        """Tokens of an answer, end token included."""
        ids = self.tokenizer(self._plain(answer), add_special_tokens=False)["input_ids"]
        return (*ids, self.end_token_id)

    def answer_offsets(self, answer: str) -> list[tuple[int, int]]:
        """(start, end) characters of each answer token, in the answer as it is given; the end token is (len, len)."""
        plain = self._plain(answer)
        encoded = self.tokenizer(plain, add_special_tokens=False, return_offsets_mapping=True)
        own = [0]  # characters of the answer before each of ``plain``, in which control tokens are broken up
        for sign in plain:
            own.append(own[-1] + (own[-1] < len(answer) and answer[own[-1]] == sign))
        return [*((own[start], own[end]) for start, end in encoded["offset_mapping"]), (len(answer), len(answer))]

    def decode(self, ids: list[int]) -> str:
        """Text of generated tokens without special tokens, stripped."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.strip()


def _count(images: int) -> str:
    return "one image" if images <= 1 else f"{images} images"
