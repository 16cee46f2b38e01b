--- SGLang: its parts are those of vLLM, without OpenAI's own audio.
return {
  name = "sglang",
  title = "SGLang",
  forms = { file = false },
  structured = { heeds = { regex = true, ebnf = true }, schema = { "response_format" },
    choice = { "response_format", as = "string" }, regex = { "regex" }, grammar = { "ebnf" } },
}
