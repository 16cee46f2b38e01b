--- SGLang: its parts are those of vLLM, without OpenAI's own audio, `input_audio`.
return {
  name = "sglang",
  title = "SGLang",
  forms = { audio = "audio_url", file = false },
  structured = { heeds = { regex = true, ebnf = true }, schema = { "response_format" },
    choice = { "response_format", as = "string" }, regex = { "regex" }, grammar = { "ebnf" } },
}
