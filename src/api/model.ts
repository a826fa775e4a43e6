/** TypeScript types of the schemas, so that the client and the document cannot say different things. */
import type { SCHEMAS, SchemaName } from './schemas.js'

type Ref<S> = S extends { $ref: `#/components/schemas/${infer Name}` }
  ? Name extends SchemaName
    ? Model<Name>
    : never
  : never

type Required<S> = S extends { required: readonly (infer Name)[] } ? Name : never
type Rest<S> = S extends { additionalProperties: infer More extends object }
  ? { readonly [name: string]: Of<More> }
  : unknown

type ObjectOf<S, P> = {
  readonly [K in keyof P as K extends Required<S> ? K : never]: Of<P[K]>
} & {
  readonly [K in keyof P as K extends Required<S> ? never : K]?: Of<P[K]>
} & Rest<S>

type Flat<T> = { [K in keyof T]: T[K] }

/** The type of a schema. Of `oneOf` beside properties the type knows only that all of them are optional. */
export type Of<S> = S extends { $ref: string }
  ? Ref<S>
  : S extends { enum: readonly (infer E)[] }
    ? E
    : S extends { anyOf: readonly (infer E)[] }
      ? Of<E>
      : S extends { type: 'string' }
        ? string
        : S extends { type: 'integer' }
          ? number
          : S extends { type: 'boolean' }
            ? boolean
            : S extends { type: 'array'; items: infer I }
              ? readonly Of<I>[]
              : S extends { type: 'object'; properties: infer P }
                ? Flat<ObjectOf<S, P>>
                : unknown

/** The type of a schema, by its name. */
export type Model<Name extends SchemaName> = Of<(typeof SCHEMAS)[Name]>
