--- Ollama: pictures as data, and since 0.20 audio.
return {
  name = "ollama",
  title = "Ollama",
  forms = { audio = "input_audio", video = false, file = false },
  fetches = false,
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "string" } },
}
