--- Mistral's API, which refuses `stream_options` with a 422.
return {
  name = "mistral",
  title = "Mistral",
  forms = { audio = "input_audio", video = false, file = false },
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true, ["image/gif"] = true },
  stream_options = false,
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
