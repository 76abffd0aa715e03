package school;

public class Hello {
    static String greeting(String name) {
        return "Hello, " + name + "!";
    }

    public static void main(String[] names) {
        for (String name : names) {
            System.out.println(greeting(name));
        }
        if (names.length == 0) {
            System.out.println(greeting("world"));
        }
    }
}
