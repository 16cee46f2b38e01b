--- OpenAI's models at Azure.
return {
  name = "azure",
  title = "Azure",
  forms = { audio = "input_audio", video = false },
  tool_media = "user", -- "Image URLs are only allowed for messages with role 'user'"
  decodes = { ["image/jpeg"] = true, ["image/png"] = true, ["image/webp"] = true, ["image/gif"] = true },
  structured = { heeds = {}, schema = { "response_format" }, choice = { "response_format", as = "object" } },
}
