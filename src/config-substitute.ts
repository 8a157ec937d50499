import { visible } from "./visible.js";

/**
 * Completes a string of `aegis.yaml`: `${NAME}` is the variable's value, `$$` a dollar sign, any other `$` itself. A
 * variable that is not set, or empty, is an error: a server started with an empty secret is the surprise this prevents.
 *
 * @throws Error whose message is the reason; it never holds a value.
 */
export function substitute(raw: string, env: NodeJS.ProcessEnv): string {
  return raw.replace(/\$\$|\$\{([^}]*)(\}?)/g, (match, name: string | undefined, end: string | undefined) => {
    if (match === "$$") return "$";
    if (end === "") throw new Error(`a \${ without its }; a dollar sign is written $$`);
    return variable(name ?? "", env);
  });
}

/**
 * Completes a string of a client's own JSON file, in the forms clients know: `${NAME}`, `${env:NAME}` and
 * `${NAME:-fallback}`. What only the client can answer (`${input:…}`) is an error.
 */
export function substituteAsClients(raw: string, env: NodeJS.ProcessEnv): string {
  return raw.replace(/\$\{([^}]*)\}/g, (_, inner: string) => {
    const [, name, fallback] = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(inner) ?? [];
    if (name === undefined) {
      throw new Error(
        `\${${visible(inner)}} can only be answered by the client: put the value in the environment`,
      );
    }
    const value = env[name];
    return fallback !== undefined && (value === undefined || value === "") ? fallback : variable(name, env);
  });
}

function variable(name: string, env: NodeJS.ProcessEnv): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
    throw new Error(`"${visible(name)}" is not the name of a variable`);
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  if (value === undefined) throw new Error(`the environment variable ${name} is not set`);
  if (value === "") throw new Error(`the environment variable ${name} is empty`);
  return value;
}
