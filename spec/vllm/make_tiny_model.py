#!/usr/bin/env python3
"""Write the directory of a tiny vision-language model with random weights, which vLLM serves without a network.

usage: make_tiny_model.py DIR

It has the shape of Qwen2-VL, with 0.3 million parameters: it takes text, images and video. Every byte of text is one
token (0 to 255), and an image costs (height / 28) * (width / 28) tokens. The output head gives printable ASCII alone,
so answers are valid UTF-8; they make no sense, but are the same for the same prompt and differ for different pictures.
The standard library is all that is needed.
"""
import array
import json
import os
import random
import struct
import sys

HIDDEN, HEADS, KV_HEADS, LAYERS, INNER = 64, 2, 1, 2, 128
HEAD = HIDDEN // HEADS  # 32: a size that attention on the CPU takes
VISION, VISION_HEADS, VISION_LAYERS = 64, 2, 2
PATCH, MERGE, FRAMES = 14, 2, 2  # FRAMES: in a patch of a video
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
           "<|image_pad|>", "<|video_pad|>"]
ID = {token: 256 + i for i, token in enumerate(SPECIAL)}
VOCABULARY = 288  # 256 bytes and the special ones, rounded up to a multiple of 32

CHAT_TEMPLATE = """\
{%- for m in messages %}
{{- '<|im_start|>' + m['role'] + '\n' }}
{%- if m['content'] is string %}
{{- m['content'] }}
{%- elif m['content'] %}
{%- for p in m['content'] %}
{%- if p['type'] == 'image' or 'image' in p or 'image_url' in p %}
{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif p['type'] == 'video' or 'video' in p %}
{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in p %}
{{- p['text'] }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}"""


def byte_characters():
    """What stands for each byte in byte-level BPE, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    characters, extra = [], 0
    for byte in range(256):
        if byte in printable:
            characters.append(chr(byte))
        else:
            characters.append(chr(256 + extra))
            extra += 1
    return characters


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_tokenizer(folder):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    write_json(folder, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": ID[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for token in SPECIAL],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
                  "vocab": {character: byte for byte, character in enumerate(byte_characters())}, "merges": []}})
    write_json(folder, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False, "model_max_length": 4096, "chat_template": CHAT_TEMPLATE})
    write_json(folder, "generation_config.json", {
        "eos_token_id": [ID["<|im_end|>"], ID["<|endoftext|>"]], "pad_token_id": ID["<|endoftext|>"],
        "do_sample": False})


def write_config(folder):
    write_json(folder, "config.json", {
        "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "torch_dtype": "float32",
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "hidden_act": "silu", "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "vocab_size": VOCABULARY, "tie_word_embeddings": False, "use_sliding_window": False,
        "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True,
        # Three sections of half a head: time, height, width.
        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6]},
        "bos_token_id": ID["<|endoftext|>"], "eos_token_id": ID["<|im_end|>"], "pad_token_id": ID["<|endoftext|>"],
        "vision_start_token_id": ID["<|vision_start|>"], "vision_end_token_id": ID["<|vision_end|>"],
        "vision_token_id": ID["<|vision_pad|>"], "image_token_id": ID["<|image_pad|>"],
        "video_token_id": ID["<|video_pad|>"],
        "vision_config": {
            "model_type": "qwen2_vl", "depth": VISION_LAYERS, "embed_dim": VISION, "hidden_size": HIDDEN,
            "num_heads": VISION_HEADS, "mlp_ratio": 2, "hidden_act": "quick_gelu", "in_channels": 3, "in_chans": 3,
            "patch_size": PATCH, "spatial_patch_size": PATCH, "spatial_merge_size": MERGE,
            "temporal_patch_size": FRAMES}})


def write_processor(folder):
    image = {
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor", "do_resize": True,
        "do_rescale": True, "do_normalize": True, "do_convert_rgb": True, "rescale_factor": 1 / 255, "resample": 3,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "min_pixels": 56 * 56, "max_pixels": 448 * 448,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}, "patch_size": PATCH,
        "temporal_patch_size": FRAMES, "merge_size": MERGE}
    video = {**image, "video_processor_type": "Qwen2VLVideoProcessor", "min_frames": 2, "max_frames": 32, "fps": 2.0}
    del video["image_processor_type"]
    write_json(folder, "preprocessor_config.json", image)
    write_json(folder, "video_preprocessor_config.json", video)
    write_json(folder, "processor_config.json", {"processor_class": "Qwen2VLProcessor"})


class Weights:
    """Named arrays of random numbers, and the file that holds them (safetensors)."""

    def __init__(self):
        self.random, self.tensors = random.Random(0), {}

    def add(self, name, *shape, scale=0.05, constant=None):
        count = 1
        for size in shape:
            count *= size
        if constant is None:
            data = array.array("f", [self.random.uniform(-scale, scale) for _ in range(count)])
        else:
            data = array.array("f", [constant]) * count
        self.tensors[name] = (list(shape), data)
        return data

    def linear(self, name, outputs, inputs, bias=True, scale=0.15, skip=None):
        """skip: "in" does not look at dimension 0 of the input, "out" leaves that of the output alone."""
        weight = self.add(name + ".weight", outputs, inputs, scale=scale)
        if skip == "in":
            for i in range(outputs):
                weight[i * inputs] = 0.0
        elif skip == "out":
            weight[0:inputs] = array.array("f", [0.0]) * inputs
        if bias:
            self.add(name + ".bias", outputs)

    def norm(self, name, size, bias=False):
        self.add(name + ".weight", size, constant=1.0)
        if bias:
            self.add(name + ".bias", size, constant=0.0)

    def save(self, path):
        head, offset = {"__metadata__": {"format": "pt"}}, 0
        for name, (shape, data) in self.tensors.items():
            size = len(data) * 4
            head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(head).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, data in self.tensors.values():
                if sys.byteorder == "big":
                    data.byteswap()
                file.write(data.tobytes())


def add_text(weights):
    embedding = weights.add("model.embed_tokens.weight", VOCABULARY, HIDDEN, scale=1.0)
    for i in range(VOCABULARY):
        embedding[i * HIDDEN] = 8.0  # always large and positive, so that the head can tell tokens apart by it
    for n in range(LAYERS):
        layer = f"model.layers.{n}."
        weights.norm(layer + "input_layernorm", HIDDEN)
        weights.norm(layer + "post_attention_layernorm", HIDDEN)
        weights.linear(layer + "self_attn.q_proj", HEADS * HEAD, HIDDEN, True, 0.6, "in")
        weights.linear(layer + "self_attn.k_proj", KV_HEADS * HEAD, HIDDEN, True, 0.6, "in")
        weights.linear(layer + "self_attn.v_proj", KV_HEADS * HEAD, HIDDEN, True, 0.4, "in")
        weights.linear(layer + "self_attn.o_proj", HIDDEN, HEADS * HEAD, False, 0.4, "out")
        weights.linear(layer + "mlp.gate_proj", INNER, HIDDEN, False, 0.3, "in")
        weights.linear(layer + "mlp.up_proj", INNER, HIDDEN, False, 0.3, "in")
        weights.linear(layer + "mlp.down_proj", HIDDEN, INNER, False, 0.3, "out")
    weights.norm("model.norm", HIDDEN)
    head = weights.add("lm_head.weight", VOCABULARY, HIDDEN, scale=1.0)
    for i in range(VOCABULARY):
        head[i * HIDDEN] = 0.0 if 32 <= i < 127 else -20.0


def add_vision(weights):
    weights.add("visual.patch_embed.proj.weight", VISION, 3, FRAMES, PATCH, PATCH)
    for n in range(VISION_LAYERS):
        block = f"visual.blocks.{n}."
        weights.norm(block + "norm1", VISION, bias=True)
        weights.norm(block + "norm2", VISION, bias=True)
        weights.linear(block + "attn.qkv", 3 * VISION, VISION)
        weights.linear(block + "attn.proj", VISION, VISION)
        weights.linear(block + "mlp.fc1", 2 * VISION, VISION)
        weights.linear(block + "mlp.fc2", VISION, 2 * VISION)
    merged = VISION * MERGE * MERGE
    weights.norm("visual.merger.ln_q", VISION, bias=True)
    weights.linear("visual.merger.mlp.0", merged, merged)
    weights.linear("visual.merger.mlp.2", HIDDEN, merged, True, 0.3)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_tiny_model.py DIR")
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    write_tokenizer(folder)
    write_config(folder)
    write_processor(folder)
    weights = Weights()
    add_text(weights)
    add_vision(weights)
    weights.save(os.path.join(folder, "model.safetensors"))


if __name__ == "__main__":
    main()
