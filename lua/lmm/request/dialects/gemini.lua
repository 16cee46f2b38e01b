--- Google's Gemini behind its OpenAI-compatible API.
return {
  name = "gemini",
  title = "Gemini",
  forms = { audio = "input_audio", video = false },
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true, ["image/heic"] = true,
    ["image/heif"] = true },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
