--- SGLang: its parts are those of vLLM, without OpenAI's own audio.
return {
  name = "sglang",
  title = "SGLang",
  owners = { "sglang" },
  forms = { file = false },
}
