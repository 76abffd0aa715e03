package school;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class HelloTest {
    @Test
    public void greetsByName() {
        assertEquals("Hello, Ada!", Hello.greeting("Ada"));
    }
}
