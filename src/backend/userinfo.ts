/** The address of a webhook, and what stood in its userinfo as a header: undici drops userinfo silently. */
export function withoutUserinfo(url: string): { address: URL; authorization: Record<string, string> } {
  const address = new URL(url);
  const { username, password } = address;
  if (username === "" && password === "") return { address, authorization: {} };
  address.username = "";
  address.password = "";
  const secret = decodeURIComponent(password === "" ? username : password);
  return { address, authorization: { authorization: `Bearer ${secret}` } };
}
